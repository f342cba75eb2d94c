"""The parts of a page that all case studies have."""
