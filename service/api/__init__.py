"""All that knows FastAPI: routes, payloads, problems, the service's life."""
