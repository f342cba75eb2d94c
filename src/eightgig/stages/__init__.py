"""The stages every case study goes through, one module a stage."""
