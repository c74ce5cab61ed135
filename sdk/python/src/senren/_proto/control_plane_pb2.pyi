from google.protobuf import timestamp_pb2 as _timestamp_pb2
from . import state_pb2 as _state_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ApplyStateRequest(_message.Message):
    __slots__ = ("site", "request_id", "expected_revision", "databases")
    SITE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_REVISION_FIELD_NUMBER: _ClassVar[int]
    DATABASES_FIELD_NUMBER: _ClassVar[int]
    site: str
    request_id: str
    expected_revision: int
    databases: _containers.RepeatedCompositeFieldContainer[Database]
    def __init__(self, site: _Optional[str] = ..., request_id: _Optional[str] = ..., expected_revision: _Optional[int] = ..., databases: _Optional[_Iterable[_Union[Database, _Mapping]]] = ...) -> None: ...

class Database(_message.Message):
    __slots__ = ("name", "type", "spec_json", "regions", "deletion_protection")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SPEC_JSON_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    DELETION_PROTECTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: str
    spec_json: str
    regions: _containers.RepeatedScalarFieldContainer[str]
    deletion_protection: bool
    def __init__(self, name: _Optional[str] = ..., type: _Optional[str] = ..., spec_json: _Optional[str] = ..., regions: _Optional[_Iterable[str]] = ..., deletion_protection: bool = ...) -> None: ...

class ApplyStateResponse(_message.Message):
    __slots__ = ("site", "revision", "changes", "warnings")
    SITE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    site: str
    revision: int
    changes: _containers.RepeatedCompositeFieldContainer[ResourceChange]
    warnings: _containers.RepeatedCompositeFieldContainer[Warning]
    def __init__(self, site: _Optional[str] = ..., revision: _Optional[int] = ..., changes: _Optional[_Iterable[_Union[ResourceChange, _Mapping]]] = ..., warnings: _Optional[_Iterable[_Union[Warning, _Mapping]]] = ...) -> None: ...

class ResourceChange(_message.Message):
    __slots__ = ("region", "name", "type", "uid", "action", "generation")
    class Action(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ACTION_UNSPECIFIED: _ClassVar[ResourceChange.Action]
        ACTION_UNCHANGED: _ClassVar[ResourceChange.Action]
        ACTION_CREATED: _ClassVar[ResourceChange.Action]
        ACTION_UPDATED: _ClassVar[ResourceChange.Action]
        ACTION_DELETED: _ClassVar[ResourceChange.Action]
        ACTION_REPLACED: _ClassVar[ResourceChange.Action]
    ACTION_UNSPECIFIED: ResourceChange.Action
    ACTION_UNCHANGED: ResourceChange.Action
    ACTION_CREATED: ResourceChange.Action
    ACTION_UPDATED: ResourceChange.Action
    ACTION_DELETED: ResourceChange.Action
    ACTION_REPLACED: ResourceChange.Action
    REGION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    region: str
    name: str
    type: str
    uid: str
    action: ResourceChange.Action
    generation: int
    def __init__(self, region: _Optional[str] = ..., name: _Optional[str] = ..., type: _Optional[str] = ..., uid: _Optional[str] = ..., action: _Optional[_Union[ResourceChange.Action, str]] = ..., generation: _Optional[int] = ...) -> None: ...

class Warning(_message.Message):
    __slots__ = ("code", "region", "name", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: str
    region: str
    name: str
    message: str
    def __init__(self, code: _Optional[str] = ..., region: _Optional[str] = ..., name: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ("site", "regions", "names")
    SITE_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    site: str
    regions: _containers.RepeatedScalarFieldContainer[str]
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, site: _Optional[str] = ..., regions: _Optional[_Iterable[str]] = ..., names: _Optional[_Iterable[str]] = ...) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("site", "revision", "resources")
    SITE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    site: str
    revision: int
    resources: _containers.RepeatedCompositeFieldContainer[ResourceStatus]
    def __init__(self, site: _Optional[str] = ..., revision: _Optional[int] = ..., resources: _Optional[_Iterable[_Union[ResourceStatus, _Mapping]]] = ...) -> None: ...

class WatchStatusRequest(_message.Message):
    __slots__ = ("site", "regions", "names")
    SITE_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    site: str
    regions: _containers.RepeatedScalarFieldContainer[str]
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, site: _Optional[str] = ..., regions: _Optional[_Iterable[str]] = ..., names: _Optional[_Iterable[str]] = ...) -> None: ...

class WatchStatusResponse(_message.Message):
    __slots__ = ("kind", "resource", "revision")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[WatchStatusResponse.Kind]
        KIND_CHANGED: _ClassVar[WatchStatusResponse.Kind]
        KIND_REMOVED: _ClassVar[WatchStatusResponse.Kind]
        KIND_SYNCED: _ClassVar[WatchStatusResponse.Kind]
    KIND_UNSPECIFIED: WatchStatusResponse.Kind
    KIND_CHANGED: WatchStatusResponse.Kind
    KIND_REMOVED: WatchStatusResponse.Kind
    KIND_SYNCED: WatchStatusResponse.Kind
    KIND_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    kind: WatchStatusResponse.Kind
    resource: ResourceStatus
    revision: int
    def __init__(self, kind: _Optional[_Union[WatchStatusResponse.Kind, str]] = ..., resource: _Optional[_Union[ResourceStatus, _Mapping]] = ..., revision: _Optional[int] = ...) -> None: ...

class ResourceStatus(_message.Message):
    __slots__ = ("site", "region", "name", "type", "uid", "generation", "observed_generation", "phase", "ready", "reason", "message", "endpoints", "conditions", "details_json", "observed_at", "created_at", "applied_at", "ready_at", "spec_json", "deletion_protection", "deleting")
    SITE_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_GENERATION_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    DETAILS_JSON_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_AT_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    APPLIED_AT_FIELD_NUMBER: _ClassVar[int]
    READY_AT_FIELD_NUMBER: _ClassVar[int]
    SPEC_JSON_FIELD_NUMBER: _ClassVar[int]
    DELETION_PROTECTION_FIELD_NUMBER: _ClassVar[int]
    DELETING_FIELD_NUMBER: _ClassVar[int]
    site: str
    region: str
    name: str
    type: str
    uid: str
    generation: int
    observed_generation: int
    phase: str
    ready: bool
    reason: str
    message: str
    endpoints: _containers.RepeatedCompositeFieldContainer[_state_pb2.Endpoint]
    conditions: _containers.RepeatedCompositeFieldContainer[_state_pb2.Condition]
    details_json: str
    observed_at: _timestamp_pb2.Timestamp
    created_at: _timestamp_pb2.Timestamp
    applied_at: _timestamp_pb2.Timestamp
    ready_at: _timestamp_pb2.Timestamp
    spec_json: str
    deletion_protection: bool
    deleting: bool
    def __init__(self, site: _Optional[str] = ..., region: _Optional[str] = ..., name: _Optional[str] = ..., type: _Optional[str] = ..., uid: _Optional[str] = ..., generation: _Optional[int] = ..., observed_generation: _Optional[int] = ..., phase: _Optional[str] = ..., ready: bool = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., endpoints: _Optional[_Iterable[_Union[_state_pb2.Endpoint, _Mapping]]] = ..., conditions: _Optional[_Iterable[_Union[_state_pb2.Condition, _Mapping]]] = ..., details_json: _Optional[str] = ..., observed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., applied_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ready_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., spec_json: _Optional[str] = ..., deletion_protection: bool = ..., deleting: bool = ...) -> None: ...

class ListRegionsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListRegionsResponse(_message.Message):
    __slots__ = ("regions",)
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    regions: _containers.RepeatedCompositeFieldContainer[Region]
    def __init__(self, regions: _Optional[_Iterable[_Union[Region, _Mapping]]] = ...) -> None: ...

class Region(_message.Message):
    __slots__ = ("id", "phase", "version", "applied_version", "in_sync", "last_heartbeat_at", "plugins", "resources", "ready_resources", "problems", "plane_version", "cluster_uid")
    ID_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    APPLIED_VERSION_FIELD_NUMBER: _ClassVar[int]
    IN_SYNC_FIELD_NUMBER: _ClassVar[int]
    LAST_HEARTBEAT_AT_FIELD_NUMBER: _ClassVar[int]
    PLUGINS_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    READY_RESOURCES_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    PLANE_VERSION_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_UID_FIELD_NUMBER: _ClassVar[int]
    id: str
    phase: str
    version: int
    applied_version: int
    in_sync: bool
    last_heartbeat_at: _timestamp_pb2.Timestamp
    plugins: _containers.RepeatedCompositeFieldContainer[_state_pb2.PluginInfo]
    resources: int
    ready_resources: int
    problems: _containers.RepeatedScalarFieldContainer[str]
    plane_version: str
    cluster_uid: str
    def __init__(self, id: _Optional[str] = ..., phase: _Optional[str] = ..., version: _Optional[int] = ..., applied_version: _Optional[int] = ..., in_sync: bool = ..., last_heartbeat_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., plugins: _Optional[_Iterable[_Union[_state_pb2.PluginInfo, _Mapping]]] = ..., resources: _Optional[int] = ..., ready_resources: _Optional[int] = ..., problems: _Optional[_Iterable[str]] = ..., plane_version: _Optional[str] = ..., cluster_uid: _Optional[str] = ...) -> None: ...
