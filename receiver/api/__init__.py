"""The HTTP API under `/api/v1`, for whoever has the admin token. Imported when it is first asked for."""
