"""Tables, figures and one page a case."""
