"""At run time: the budget enforced, memory measured and recorded, levers applied."""
