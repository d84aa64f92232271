"""Networks that nobody here wrote, and what holds for each of them: ``make networks`` tries them all."""
