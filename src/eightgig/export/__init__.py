"""Models as files for other runtimes: ONNX, INT8, and the runners that execute them."""
