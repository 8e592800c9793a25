"""The HTTP face: Starlette routes, pydantic bodies, problem documents."""
