"""Record batches by hand: codecs in each form that producers have, timestamps of one's own.

The codecs are the system's libraries; what is here is a second implementation beside the C."""
import ctypes
import struct
import zlib

import kafka_wire as wire

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
LOG_APPEND_TIME, TRANSACTIONAL = 8, 16  # attributes, beside the codec
XERIAL_BLOCK_BYTES = 32 << 10  # as snappy-java has it


def varint(n):
    n = n << 1 if n >= 0 else (-n << 1) - 1
    out = b""
    while n >= 0x80:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def record(delta, timestamp_delta, value):
    body = (b"\0" + varint(timestamp_delta) + varint(delta) + varint(-1) + varint(len(value))
            + value + varint(0))
    return varint(len(body)) + body


def keyed_record(delta, key, value):
    body = (b"\0\0" + varint(delta) + varint(len(key)) + key + varint(len(value)) + value
            + varint(0))
    return varint(len(body)) + body


def batch_of(packed, n, attributes=0, first_ms=1000, max_ms=1000, producer=-1, epoch=-1,
             sequence=-1):
    """A batch around records that are encoded and compressed already."""
    covered = struct.pack(">hiqqqhii", attributes, n - 1, first_ms, max_ms, producer, epoch,
                          sequence, n) + packed
    tail = struct.pack(">ibI", 0, 2, wire.crc32c(covered)) + covered
    return struct.pack(">qi", 0, len(tail)) + tail


def batch(values, codec=0, compress=bytes, times=None):
    """Of (value, ...) with timestamps, ms; `compress` makes the bytes of the codec's number."""
    times = times or [1000] * len(values)
    plain = b"".join(record(i, times[i] - times[0], v) for i, v in enumerate(values))
    return batch_of(compress(plain), len(values), codec, times[0], max(times))


class Batch:
    """What a whole batch's header says, with its body as it is. Checks the CRC."""

    def __init__(self, data):
        (self.base, _, _, _, crc, self.attributes, last, self.first_ms, self.max_ms, _, _, _,
         self.n) = struct.unpack(">qiibIhiqqqhii", data[:61])
        self.last = self.base + last
        self.body = data[61:]
        assert wire.crc32c(data[21:]) == crc


def batches(data):
    """Of a fetched run, whole ones."""
    out = []
    while len(data) >= 12:
        n = 12 + struct.unpack(">i", data[8:12])[0]
        assert len(data) >= n
        out.append(Batch(data[:n]))
        data = data[n:]
    assert data == b""
    return out


# ---- codecs ----

def gzip(data):
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


def snappy(data):
    """One raw block, as librdkafka and Go clients write it."""
    lib = ctypes.CDLL("libsnappy.so.1")
    lib.snappy_max_compressed_length.restype = ctypes.c_size_t
    size = ctypes.c_size_t(lib.snappy_max_compressed_length(ctypes.c_size_t(len(data))))
    out = ctypes.create_string_buffer(size.value)
    assert lib.snappy_compress(data, ctypes.c_size_t(len(data)), out, ctypes.byref(size)) == 0
    return ctypes.string_at(out, size.value)


def snappy_xerial(data):
    """snappy-java's framing, as Java clients write it."""
    out = b"\x82SNAPPY\0" + struct.pack(">ii", 1, 1)
    for at in range(0, len(data), XERIAL_BLOCK_BYTES):
        block = snappy(data[at:at + XERIAL_BLOCK_BYTES])
        out += struct.pack(">i", len(block)) + block
    return out


class Lz4Preferences(ctypes.Structure):
    _fields_ = [("block_size", ctypes.c_int), ("independent", ctypes.c_int),
                ("content_checksum", ctypes.c_int), ("frame_type", ctypes.c_int),
                ("content_size", ctypes.c_ulonglong), ("dictionary", ctypes.c_uint),
                ("block_checksum", ctypes.c_int), ("level", ctypes.c_int),
                ("auto_flush", ctypes.c_uint), ("favor", ctypes.c_uint),
                ("reserved", ctypes.c_uint * 3)]


def lz4_frame(data, independent):
    lib = ctypes.CDLL("liblz4.so.1")
    lib.LZ4F_compressFrameBound.restype = lib.LZ4F_compressFrame.restype = ctypes.c_size_t
    how = ctypes.byref(Lz4Preferences(block_size=4, independent=independent))
    size = lib.LZ4F_compressFrameBound(ctypes.c_size_t(len(data)), how)
    out = ctypes.create_string_buffer(size)
    n = lib.LZ4F_compressFrame(out, ctypes.c_size_t(size), data, ctypes.c_size_t(len(data)), how)
    assert 0 < n <= size
    return ctypes.string_at(out, n)


def lz4(data):
    """Blocks of 64 KB, each by itself, as Java clients write them."""
    return lz4_frame(data, 1)


def lz4_linked(data):
    """Blocks that refer to the ones before."""
    return lz4_frame(data, 0)


def zstd_frame(data, sized):
    lib = ctypes.CDLL("libzstd.so.1")
    lib.ZSTD_createCCtx.restype = ctypes.c_void_p
    lib.ZSTD_compressBound.restype = lib.ZSTD_compress2.restype = ctypes.c_size_t
    context = ctypes.c_void_p(lib.ZSTD_createCCtx())
    content_size_flag = 200
    lib.ZSTD_CCtx_setParameter(context, content_size_flag, sized)
    size = lib.ZSTD_compressBound(ctypes.c_size_t(len(data)))
    out = ctypes.create_string_buffer(size)
    n = lib.ZSTD_compress2(context, out, ctypes.c_size_t(size), data, ctypes.c_size_t(len(data)))
    lib.ZSTD_freeCCtx(context)
    assert 0 < n <= size
    return ctypes.string_at(out, n)


def zstd(data):
    return zstd_frame(data, 1)


def zstd_unsized(data):
    """Without the content's size in the header, as streams write it."""
    return zstd_frame(data, 0)


CODECS = {"gzip": (GZIP, gzip), "snappy": (SNAPPY, snappy),
          "snappy-xerial": (SNAPPY, snappy_xerial), "lz4": (LZ4, lz4),
          "lz4-linked": (LZ4, lz4_linked), "zstd": (ZSTD, zstd),
          "zstd-unsized": (ZSTD, zstd_unsized)}
