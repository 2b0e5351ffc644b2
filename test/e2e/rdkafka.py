"""librdkafka's transactional producer, and some of its admin, by ctypes: Debian has no Python
binding of it."""
import ctypes

LIB = ctypes.CDLL("librdkafka.so.1")
PRODUCER = 0
ERROR_BYTES = 512
P = ctypes.c_void_p


def _declare(name, result, *arguments):
    function = getattr(LIB, name)
    function.restype = result
    function.argtypes = arguments
    return function


_conf_new = _declare("rd_kafka_conf_new", P)
_conf_set = _declare("rd_kafka_conf_set", ctypes.c_int, P, ctypes.c_char_p, ctypes.c_char_p,
                     ctypes.c_char_p, ctypes.c_size_t)
_new = _declare("rd_kafka_new", P, ctypes.c_int, P, ctypes.c_char_p, ctypes.c_size_t)
_destroy = _declare("rd_kafka_destroy_flags", None, P, ctypes.c_int)
_topic_new = _declare("rd_kafka_topic_new", P, P, ctypes.c_char_p, P)
_produce = _declare("rd_kafka_produce", ctypes.c_int, P, ctypes.c_int32, ctypes.c_int,
                    ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, P)
_flush = _declare("rd_kafka_flush", ctypes.c_int, P, ctypes.c_int)
_error_string = _declare("rd_kafka_error_string", ctypes.c_char_p, P)
_error_code = _declare("rd_kafka_error_code", ctypes.c_int, P)
_error_fatal = _declare("rd_kafka_error_is_fatal", ctypes.c_int, P)
_init = _declare("rd_kafka_init_transactions", P, P, ctypes.c_int)
_begin = _declare("rd_kafka_begin_transaction", P, P)
_commit = _declare("rd_kafka_commit_transaction", P, P, ctypes.c_int)
_abort = _declare("rd_kafka_abort_transaction", P, P, ctypes.c_int)
_offsets = _declare("rd_kafka_send_offsets_to_transaction", P, P, P, P, ctypes.c_int)
_list_new = _declare("rd_kafka_topic_partition_list_new", P, ctypes.c_int)
_list_add = _declare("rd_kafka_topic_partition_list_add", P, P, ctypes.c_char_p, ctypes.c_int32)
_list_set = _declare("rd_kafka_topic_partition_list_set_offset", ctypes.c_int, P, ctypes.c_char_p,
                     ctypes.c_int32, ctypes.c_int64)
_list_destroy = _declare("rd_kafka_topic_partition_list_destroy", None, P)
_group_new = _declare("rd_kafka_consumer_group_metadata_new", P, ctypes.c_char_p)
_group_destroy = _declare("rd_kafka_consumer_group_metadata_destroy", None, P)

_new_partitions = _declare("rd_kafka_NewPartitions_new", P, ctypes.c_char_p, ctypes.c_size_t,
                           ctypes.c_char_p, ctypes.c_size_t)
_new_partitions_free = _declare("rd_kafka_NewPartitions_destroy", None, P)
_create_partitions = _declare("rd_kafka_CreatePartitions", None, P, ctypes.POINTER(P),
                              ctypes.c_size_t, P, P)
_queue_new = _declare("rd_kafka_queue_new", P, P)
_queue_free = _declare("rd_kafka_queue_destroy", None, P)
_queue_poll = _declare("rd_kafka_queue_poll", P, P, ctypes.c_int)
_event_free = _declare("rd_kafka_event_destroy", None, P)
_created = _declare("rd_kafka_event_CreatePartitions_result", P, P)
_created_topics = _declare("rd_kafka_CreatePartitions_result_topics", ctypes.POINTER(P), P,
                           ctypes.POINTER(ctypes.c_size_t))
_topic_error = _declare("rd_kafka_topic_result_error", ctypes.c_int, P)
_topic_text = _declare("rd_kafka_topic_result_error_string", ctypes.c_char_p, P)

MSG_F_COPY = 2
DESTROY_NO_CONSUMER_CLOSE = 8


class RdError(Exception):
    """What librdkafka says; `fatal`: the producer is of no use any more."""

    def __init__(self, error):
        super().__init__(_error_string(error).decode())
        self.code = _error_code(error)
        self.fatal = bool(_error_fatal(error))


def _must(error):
    if error:
        raise RdError(error)


class Producer:
    """A transactional producer. Calls raise RdError."""

    def __init__(self, brokers, transactional_id, **settings):
        conf = _conf_new()
        text = ctypes.create_string_buffer(ERROR_BYTES)
        settings = {"bootstrap.servers": brokers, "transactional.id": transactional_id,
                    "linger.ms": "0", **settings}
        for name, value in settings.items():
            done = _conf_set(conf, name.encode(), value.encode(), text, ERROR_BYTES)
            assert done == 0, text.value
        self.handle = _new(PRODUCER, conf, text, ERROR_BYTES)
        assert self.handle, text.value
        self.topics = {}

    def init(self, timeout_ms=30000):
        _must(_init(self.handle, timeout_ms))

    def begin(self):
        _must(_begin(self.handle))

    def produce(self, topic, value, partition=0, key=None):
        handle = self.topics.get(topic)
        if handle is None:
            handle = self.topics[topic] = _topic_new(self.handle, topic.encode(), None)
        assert _produce(handle, partition, MSG_F_COPY, value, len(value), key,
                        len(key) if key else 0, None) == 0

    def flush(self, timeout_ms=30000):
        return _flush(self.handle, timeout_ms)

    def offsets(self, group, positions, timeout_ms=30000):
        """positions: {(topic, partition): offset}"""
        entries = _list_new(len(positions))
        for (topic, partition), offset in positions.items():
            _list_add(entries, topic.encode(), partition)
            _list_set(entries, topic.encode(), partition, offset)
        metadata = _group_new(group.encode())
        try:
            _must(_offsets(self.handle, entries, metadata, timeout_ms))
        finally:
            _group_destroy(metadata)
            _list_destroy(entries)

    def commit(self, timeout_ms=30000):
        _must(_commit(self.handle, timeout_ms))

    def abort(self, timeout_ms=30000):
        _must(_abort(self.handle, timeout_ms))

    def drop(self):
        """Ends it without a word to the server."""
        _destroy(self.handle, DESTROY_NO_CONSUMER_CLOSE)
        self.handle = None


def create_partitions(brokers, topic, count, timeout_ms=30000):
    """(error code, text) of the topic."""
    text = ctypes.create_string_buffer(ERROR_BYTES)
    conf = _conf_new()
    assert _conf_set(conf, b"bootstrap.servers", brokers.encode(), text, ERROR_BYTES) == 0
    handle = _new(PRODUCER, conf, text, ERROR_BYTES)
    queue = _queue_new(handle)
    wanted = P(_new_partitions(topic.encode(), count, text, ERROR_BYTES))
    try:
        _create_partitions(handle, ctypes.byref(wanted), 1, None, queue)
        event = _queue_poll(queue, timeout_ms)
        assert event
        n = ctypes.c_size_t()
        results = _created_topics(_created(event), ctypes.byref(n))
        assert n.value == 1
        why = _topic_text(results[0])
        answer = _topic_error(results[0]), why.decode() if why else None
        _event_free(event)
        return answer
    finally:
        _new_partitions_free(wanted)
        _queue_free(queue)
        _destroy(handle, 0)
