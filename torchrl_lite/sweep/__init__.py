"""Many runs at once, on one machine or many, by Ray, whose package is optional."""
