"""Policy optimisation from rewards: KL estimators (`kl`)."""
