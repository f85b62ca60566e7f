"""What a service tells Prometheus, as numbers."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.running_service import RunningService


def scrape(service: RunningService) -> dict[str, float]:
    """Every sample, by its name and labels."""
    headers = {"Authorization": f"Bearer {service.token()}"}
    answer = httpx.get(f"{service.admin}/metrics", headers=headers, timeout=100)
    assert answer.status_code == 200, answer.text
    return samples(answer.text)


def samples(text: str) -> dict[str, float]:
    return {
        sample.name + "".join(f",{value}" for _, value in sorted(sample.labels.items())): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
