"""What a team writes: one declaration of a database of each type. `sdk.py STEP` declares it as it is at that step, waits
until every region has it, and prints what there is then as JSON."""

import json
import sys

from senren import Database, SenrenClient

REGIONS = ["aws:us-east-1", "gcp:us-central1"]
STEPS = {
    "create": {"memory_mb": 192, "nodes": 2, "host": "one.example.com"},
    "scale": {"memory_mb": 384, "nodes": 3, "host": "two.example.com"},
    "delete": None,
}


def databases(memory_mb: int, nodes: int, host: str) -> list[Database]:
    namespaces = {"profiles": {"memory_mb": 512}}
    return [
        Database(name="features", type="redis-cluster", memory_mb=memory_mb, regions=REGIONS),
        Database(name="sessions", type="redis", memory_mb=memory_mb, replicas=nodes - 1, regions=REGIONS),
        Database(name="profiles", type="aerospike", nodes=nodes, namespaces=namespaces, regions=REGIONS),
        Database(name="orders", type="template", host=host, regions=REGIONS),
    ]


def main() -> None:
    step = STEPS[sys.argv[1]]
    with SenrenClient(author="team") as client:
        client.apply_state(databases(**step) if step else [], confirm_data_loss=True, wait=True, timeout=120)
        fields = ("region", "name", "type", "phase", "ready", "host", "port")
        resources = client.get_status().resources
        print(json.dumps([{field: getattr(resource, field) for field in fields} for resource in resources]))


main()
