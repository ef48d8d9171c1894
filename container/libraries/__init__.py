"""One small module a reinforcement-learning library; :mod:`container.libraries.base` is what they have in common."""
