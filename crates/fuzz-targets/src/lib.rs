//! The bodies of the fuzz targets as functions, so that one ordinary test runs every corpus.
