"""The sections of the report in their order, name to "module:function".

A new one is a function from a `Context` to a `Section` (None where it has nothing to say), a template beside the others, and a line here.
It needs no script of its own to show rows: put `context.cells.show(rows)` into the section's data under some key, and an empty
`<div class="gallery" data-rows="section.key"></div>` into its template.
"""

SECTIONS: dict[str, str] = {
    "summary": "curate.stages.report.summary:section",
    "audit": "curate.stages.report.audit:section",
    "contamination": "curate.stages.report.contamination:section",
    "suspects": "curate.stages.report.suspects:section",
    "datamap": "curate.stages.report.datamap:section",
    "comparison": "curate.stages.report.comparison:section",
    "distilled": "curate.stages.report.distilled:section",
    "selection": "curate.stages.report.selection:section",
    "coverage": "curate.stages.report.coverage:section",
    "galleries": "curate.stages.report.galleries:section",
    "histograms": "curate.stages.report.histograms:section",
    "overlap": "curate.stages.report.overlap:section",
}
