"""Forms as they were sent."""

from fastapi import Request


async def form_fields(request: Request) -> dict[str, str]:
    """The fields of a form as they were sent, so that a page can show them again."""
    form = await request.form(max_files=0, max_fields=100)
    return {name: str(value) for name, value in form.items()}
