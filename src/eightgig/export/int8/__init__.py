"""INT8 files that keep accuracy: one calibration, two Q/DQ files, the layers that cost too much left in float."""
