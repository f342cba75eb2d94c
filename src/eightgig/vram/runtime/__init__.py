"""At run time: the budget enforced, memory measured and recorded, memory saved as planned."""
