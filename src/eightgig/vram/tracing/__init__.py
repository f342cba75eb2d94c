"""What a step takes: traced without a GPU, on a fake accelerator in a child process."""
