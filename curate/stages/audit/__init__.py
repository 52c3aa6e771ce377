"""The checks of `curate audit`: what is wrong with rows, found from the rows, their vectors and their neighbours."""
