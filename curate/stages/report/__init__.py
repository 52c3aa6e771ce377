"""The sections of the report in their order, name to "module:function". A new one is such a function, its template, and a line here."""

SECTIONS: dict[str, str] = {
    "summary": "curate.stages.report.summary:section",
    "suspects": "curate.stages.report.suspects:section",
    "datamap": "curate.stages.report.datamap:section",
    "comparison": "curate.stages.report.comparison:section",
    "selection": "curate.stages.report.selection:section",
    "galleries": "curate.stages.report.galleries:section",
    "histograms": "curate.stages.report.histograms:section",
    "overlap": "curate.stages.report.overlap:section",
}
