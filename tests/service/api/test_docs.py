"""The page of the OpenAPI document, behind a prefix and without another host."""

import re
from urllib.parse import urljoin

import pytest

from service.api.app import create_app
from service.inference.engine import Networks
from service.settings import Settings
from tests.support.client import Client, serving
from tests.support.standin import StandIn


def links(page: str) -> list[str]:
    return re.findall(r'(?:src|href)="([^"]*)"', page)


def test_the_page_asks_for_files_of_this_service_only(client: Client) -> None:
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    for policy in ("default-src 'none'", "script-src 'self';", "connect-src 'self'"):
        assert policy in page.headers["content-security-policy"]
    assert len(links(page.text)) == 4
    for link in links(page.text):
        assert not re.match("/|[a-z]+:", link), "it would leave the prefix, or the host"
        assert client.get(urljoin("/docs", link)).status_code == 200
    assert "<style" not in page.text
    assert not re.search(r"<script>|\son\w+=", page.text)


def test_the_script_loads_the_document_and_no_validator(client: Client) -> None:
    script = client.get("/docs/docs.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert 'url: "openapi.json"' in script.text
    assert "validatorUrl: null" in script.text
    assert "//" not in script.text
    assert "SwaggerUIBundle" in client.get("/docs/swagger-ui-bundle.js").text


@pytest.mark.parametrize("name", ["__init__.py", "docs.html", "..", "%2e%2e%2fopenapi.py"])
def test_nothing_else_is_served(name: str, client: Client) -> None:
    assert client.get(f"/docs/{name}").status_code == 404


@pytest.mark.parametrize("path", ["/redoc", "/docs/oauth2-redirect"])
def test_pages_with_another_hosts_scripts_are_gone(path: str, client: Client) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("prefix", ["", "/vision/pose"])
def test_behind_a_proxy_the_prefix_may_be_stripped_or_not(prefix: str, engine: StandIn, astronaut: bytes) -> None:
    app = create_app(Settings(root_path="/vision/pose"), lambda _: Networks(engine))
    with serving(app) as client:
        assert client.get(f"{prefix}/openapi.json").json()["servers"] == [{"url": "/vision/pose"}]
        assert client.get(f"{prefix}/docs").status_code == 200
        assert client.get(f"{prefix}/docs/docs.js").status_code == 200
        assert client.post(f"{prefix}/pose", content=astronaut).status_code == 200
        assert "\npose_in_flight_requests 0.0\n" in client.get(f"{prefix}/metrics").text
        assert client.metric("pose_requests_total", route="/pose", code="200") == 1


def test_without_a_prefix_the_document_names_no_server(client: Client) -> None:
    assert "servers" not in client.get("/openapi.json").json()
