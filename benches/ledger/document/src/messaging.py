"""Presumed by the document: its publisher, event types and subjects. Without `NATS_URL` nothing is published."""
import json
import os

import nats


class EventType:
    DEPLOYMENT_COMPLETED = "deployment.completed"
    DEPLOYMENT_ROLLED_BACK = "deployment.rolled_back"


class Subjects:
    DEPLOYMENT_ALL = "library.deployment"


class Publisher:
    client = None

    async def publish_generic_event(self, event_type, subject, data, **more):
        url = os.environ.get("NATS_URL")
        if not url:
            return
        if self.client is None:
            self.client = await nats.connect(url)
        await self.client.publish(subject, json.dumps({"type": event_type, "data": data, **more}).encode())

    async def publish_deployment_completed(self, entity_id, deployment_id, environment, version, metadata):
        data = {"entity_id": entity_id, "deployment_id": deployment_id, "environment": environment, "version": version}
        await self.publish_generic_event(EventType.DEPLOYMENT_COMPLETED, Subjects.DEPLOYMENT_ALL, {**data, "metadata": metadata})


publisher = Publisher()
