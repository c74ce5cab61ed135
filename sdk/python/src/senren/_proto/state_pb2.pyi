from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RegionalState(_message.Message):
    __slots__ = ("region", "version", "slots", "resources", "content_hash", "published_at")
    REGION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    CONTENT_HASH_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_AT_FIELD_NUMBER: _ClassVar[int]
    region: str
    version: int
    slots: SlotRange
    resources: _containers.RepeatedCompositeFieldContainer[DesiredResource]
    content_hash: str
    published_at: _timestamp_pb2.Timestamp
    def __init__(self, region: _Optional[str] = ..., version: _Optional[int] = ..., slots: _Optional[_Union[SlotRange, _Mapping]] = ..., resources: _Optional[_Iterable[_Union[DesiredResource, _Mapping]]] = ..., content_hash: _Optional[str] = ..., published_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class SlotRange(_message.Message):
    __slots__ = ("first", "last")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    first: int
    last: int
    def __init__(self, first: _Optional[int] = ..., last: _Optional[int] = ...) -> None: ...

class DesiredResource(_message.Message):
    __slots__ = ("site", "name", "type", "uid", "generation", "spec_json", "deletion_protection", "data_loss_confirmed", "replaces_uid")
    SITE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    SPEC_JSON_FIELD_NUMBER: _ClassVar[int]
    DELETION_PROTECTION_FIELD_NUMBER: _ClassVar[int]
    DATA_LOSS_CONFIRMED_FIELD_NUMBER: _ClassVar[int]
    REPLACES_UID_FIELD_NUMBER: _ClassVar[int]
    site: str
    name: str
    type: str
    uid: str
    generation: int
    spec_json: str
    deletion_protection: bool
    data_loss_confirmed: bool
    replaces_uid: str
    def __init__(self, site: _Optional[str] = ..., name: _Optional[str] = ..., type: _Optional[str] = ..., uid: _Optional[str] = ..., generation: _Optional[int] = ..., spec_json: _Optional[str] = ..., deletion_protection: bool = ..., data_loss_confirmed: bool = ..., replaces_uid: _Optional[str] = ...) -> None: ...

class StatusReport(_message.Message):
    __slots__ = ("region", "sequence", "resource", "heartbeat")
    REGION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    region: str
    sequence: int
    resource: ResourceReport
    heartbeat: Heartbeat
    def __init__(self, region: _Optional[str] = ..., sequence: _Optional[int] = ..., resource: _Optional[_Union[ResourceReport, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ...) -> None: ...

class ResourceReport(_message.Message):
    __slots__ = ("site", "name", "type", "uid", "generation", "phase", "ready", "reason", "message", "endpoints", "conditions", "details_json", "observed_at", "deleted")
    SITE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    DETAILS_JSON_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_AT_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    site: str
    name: str
    type: str
    uid: str
    generation: int
    phase: str
    ready: bool
    reason: str
    message: str
    endpoints: _containers.RepeatedCompositeFieldContainer[Endpoint]
    conditions: _containers.RepeatedCompositeFieldContainer[Condition]
    details_json: str
    observed_at: _timestamp_pb2.Timestamp
    deleted: bool
    def __init__(self, site: _Optional[str] = ..., name: _Optional[str] = ..., type: _Optional[str] = ..., uid: _Optional[str] = ..., generation: _Optional[int] = ..., phase: _Optional[str] = ..., ready: bool = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., endpoints: _Optional[_Iterable[_Union[Endpoint, _Mapping]]] = ..., conditions: _Optional[_Iterable[_Union[Condition, _Mapping]]] = ..., details_json: _Optional[str] = ..., observed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., deleted: bool = ...) -> None: ...

class Endpoint(_message.Message):
    __slots__ = ("name", "host", "port")
    NAME_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    name: str
    host: str
    port: int
    def __init__(self, name: _Optional[str] = ..., host: _Optional[str] = ..., port: _Optional[int] = ...) -> None: ...

class Condition(_message.Message):
    __slots__ = ("type", "status", "reason", "message")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    type: str
    status: str
    reason: str
    message: str
    def __init__(self, type: _Optional[str] = ..., status: _Optional[str] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("version", "content_hash", "interval_ms", "sent_at", "plugins", "cluster_uid", "plane_version", "problems", "settled")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CONTENT_HASH_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    SENT_AT_FIELD_NUMBER: _ClassVar[int]
    PLUGINS_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_UID_FIELD_NUMBER: _ClassVar[int]
    PLANE_VERSION_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    SETTLED_FIELD_NUMBER: _ClassVar[int]
    version: int
    content_hash: str
    interval_ms: int
    sent_at: _timestamp_pb2.Timestamp
    plugins: _containers.RepeatedCompositeFieldContainer[PluginInfo]
    cluster_uid: str
    plane_version: str
    problems: _containers.RepeatedScalarFieldContainer[str]
    settled: bool
    def __init__(self, version: _Optional[int] = ..., content_hash: _Optional[str] = ..., interval_ms: _Optional[int] = ..., sent_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., plugins: _Optional[_Iterable[_Union[PluginInfo, _Mapping]]] = ..., cluster_uid: _Optional[str] = ..., plane_version: _Optional[str] = ..., problems: _Optional[_Iterable[str]] = ..., settled: bool = ...) -> None: ...

class PluginInfo(_message.Message):
    __slots__ = ("type", "kind", "plugin", "version", "digest", "spec_schema_json", "notice")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PLUGIN_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SPEC_SCHEMA_JSON_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    type: str
    kind: str
    plugin: str
    version: str
    digest: str
    spec_schema_json: str
    notice: str
    def __init__(self, type: _Optional[str] = ..., kind: _Optional[str] = ..., plugin: _Optional[str] = ..., version: _Optional[str] = ..., digest: _Optional[str] = ..., spec_schema_json: _Optional[str] = ..., notice: _Optional[str] = ...) -> None: ...
