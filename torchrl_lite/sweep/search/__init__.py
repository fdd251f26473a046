"""A search for hyperparameters: Optuna (an optional package) proposes the settings of runs."""
