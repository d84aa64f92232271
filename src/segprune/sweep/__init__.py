"""Many runs: which jobs, how they are started, and what became of them."""
