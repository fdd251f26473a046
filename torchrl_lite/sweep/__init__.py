"""Many runs at once on Ray (an optional package), on one machine or many."""
