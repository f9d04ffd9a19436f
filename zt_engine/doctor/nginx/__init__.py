"""nginx: `auth_request` and what can go wrong around it."""
