"""TensorRT and TensorRT for RTX: engines that are built, proved, kept and run by one set of names."""
