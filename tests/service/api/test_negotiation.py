import pytest

from service.api.negotiation import negotiate

OFFERED = ("text/plain", "application/json", "text/html")
CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "text/plain"),
        ("*/*", "text/plain"),
        (CHROME, "text/html"),
        ("application/json", "application/json"),
        ("Application/JSON; charset=utf-8", "application/json"),
        ("application/json, text/plain, */*", "application/json"),
        ("text/plain;q=0.5, application/json;q=0.9", "application/json"),
        ("text/*, application/json;q=0.9", "text/plain"),
        ("text/*, text/plain;q=0", "text/html"),
        ("*/*;q=0.1, text/html;level=1;q=0.2", "text/html"),
        ("image/png, application/*;q=0.001", "application/json"),
        ("text/html;q=high, application/json;q=0.1", "text/html"),
        ("application/json;q=2, text/html", "application/json"),
        ("text/html, application/json;q=10", "text/html"),
        ("text/html;q=0.9, application/json;q=1000", "application/json"),
        ("text/html;q=-1, application/json;q=0.1", "application/json"),
        ("text/html;q=inf, application/json;q=1", "text/html"),
        ("text/html;q=, application/json;q=0.9", "text/html"),
        ("text/plain; q=.2, application/json; q=.3", "application/json"),
        ("image/png", None),
        ("*/*;q=0", None),
        ("application/json;q=nan", "application/json"),
        ("text/html;q=-1", None),
        ("text/plain;q=0, application/json;q=0, text/html;q=0, */*", None),
    ],
)
def test_the_client_gets_what_it_likes_best(accept: str, chosen: str | None) -> None:
    assert negotiate(accept, OFFERED) == chosen
