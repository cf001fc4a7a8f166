/* SPDX-License-Identifier: Apache-2.0 */
/* The ring: layout of the memory that a trainer and rankd share, and of the packets on the socket.
 *
 * PROTOCOL.md has the order of writes and the rules for the death of a side. All integers are
 * little-endian, all offsets count from the first byte of the segment, pointers are never stored.
 * Fields named `reserved` are written as zero and not read. */
#ifndef RANKD_SHM_H
#define RANKD_SHM_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "rankd_status.h"
#include "rankd_types.h"

#define RANKD_SHM_MAGIC UINT64_C(0x4d4853444b4e4152) /* "RANKDSHM" in memory order */
#define RANKD_SHM_VERSION 1u

enum {
    RANKD_SHM_HEADER_BYTES = 4096,
    RANKD_SHM_ENTRY_BYTES = 64,
    RANKD_SHM_ENTRIES_MIN = 2,
    RANKD_SHM_ENTRIES_MAX = 4096,
    RANKD_SHM_DESCRIPTOR_MAX = 4096,
    RANKD_SHM_ALIGN = 64,         /* of descriptors, replies and (recommended) tensors in the arena */
    RANKD_PACKET_MAX = 64 * 1024, /* of one packet on the socket, header included */
    RANKD_TENSOR_RANK = 2,
    RANKD_NAME_BYTES = 32,
    RANKD_ERROR_BYTES = 512
};

/* ---- The segment ----------------------------------------------------------------------------- */

/* How one side waits. ASLEEP: it will look at its ring again only when a doorbell packet
 * arrives. */
enum rankd_waiting { RANKD_AWAKE = 0, RANKD_ASLEEP = 1 };

/* First bytes of the segment. Ring indices run freely and wrap at 2^32; entry `i` lies at `i %
 * entries`. */
struct rankd_shm_segment {
    /* Written by the daemon before the segment is handed over; never changed. */
    uint64_t magic;
    uint32_t version;
    uint32_t header_bytes;
    uint64_t segment_bytes;
    uint32_t entries; /* of each ring, a power of two */
    uint32_t entry_bytes;
    uint64_t submissions_offset;
    uint64_t completions_offset;
    uint64_t arena_offset; /* where the client's memory begins: descriptors, replies, tensors */
    uint64_t arena_bytes;
    uint64_t daemon_id; /* random for each start of the daemon */
    uint8_t reserved0[56];
    /* Written by the client. */
    _Atomic uint32_t submit_tail;   /* entries the client published */
    _Atomic uint32_t complete_head; /* completions the client took */
    uint8_t reserved1[120];
    /* Written by the daemon. */
    _Atomic uint32_t submit_head;   /* entries the daemon took */
    _Atomic uint32_t complete_tail; /* completions the daemon published */
    _Atomic uint32_t spin_ns;       /* longest spin of the client before it sleeps; 0 = none */
    uint8_t reserved2[116];
    /* RANKD_ASLEEP is stored by the side that sleeps, and cleared by the first side that wakes
     * it. */
    _Atomic uint32_t daemon_waiting;
    uint8_t reserved3[124];
    _Atomic uint32_t client_waiting;
    uint8_t reserved4[3580];
};

static_assert(sizeof(_Atomic uint32_t) == 4, "an atomic word is a word");
static_assert(sizeof(struct rankd_shm_segment) == RANKD_SHM_HEADER_BYTES, "header");
static_assert(offsetof(struct rankd_shm_segment, magic) == 0, "layout");
static_assert(offsetof(struct rankd_shm_segment, version) == 8, "layout");
static_assert(offsetof(struct rankd_shm_segment, header_bytes) == 12, "layout");
static_assert(offsetof(struct rankd_shm_segment, segment_bytes) == 16, "layout");
static_assert(offsetof(struct rankd_shm_segment, entries) == 24, "layout");
static_assert(offsetof(struct rankd_shm_segment, entry_bytes) == 28, "layout");
static_assert(offsetof(struct rankd_shm_segment, submissions_offset) == 32, "layout");
static_assert(offsetof(struct rankd_shm_segment, completions_offset) == 40, "layout");
static_assert(offsetof(struct rankd_shm_segment, arena_offset) == 48, "layout");
static_assert(offsetof(struct rankd_shm_segment, arena_bytes) == 56, "layout");
static_assert(offsetof(struct rankd_shm_segment, daemon_id) == 64, "layout");
static_assert(offsetof(struct rankd_shm_segment, submit_tail) == 128, "layout");
static_assert(offsetof(struct rankd_shm_segment, complete_head) == 132, "layout");
static_assert(offsetof(struct rankd_shm_segment, submit_head) == 256, "layout");
static_assert(offsetof(struct rankd_shm_segment, complete_tail) == 260, "layout");
static_assert(offsetof(struct rankd_shm_segment, spin_ns) == 264, "layout");
static_assert(offsetof(struct rankd_shm_segment, daemon_waiting) == 384, "layout");
static_assert(offsetof(struct rankd_shm_segment, client_waiting) == 512, "layout");

enum rankd_operation {
    RANKD_OP_NOP = 1,    /* completes at once with status 0 */
    RANKD_OP_INFER = 2,  /* described by a struct rankd_shm_descriptor */
    RANKD_OP_CANCEL = 3, /* cancels the request `cancel_tag`; has no completion */
};

/* An entry of the submission ring. */
struct rankd_shm_submission {
    uint32_t operation;
    uint32_t descriptor_bytes; /* at most RANKD_SHM_DESCRIPTOR_MAX */
    uint64_t tag;              /* chosen by the client, returned in the completion */
    uint64_t
        timeout_ns; /* from the moment at which the daemon takes the entry; 0 = the default of the daemon */
    uint64_t descriptor_offset;
    uint64_t reply_offset; /* room for one struct rankd_shm_reply */
    uint64_t cancel_tag;
    uint64_t reserved[2];
};

static_assert(sizeof(struct rankd_shm_submission) == RANKD_SHM_ENTRY_BYTES, "entry");
static_assert(offsetof(struct rankd_shm_submission, operation) == 0, "layout");
static_assert(offsetof(struct rankd_shm_submission, descriptor_bytes) == 4, "layout");
static_assert(offsetof(struct rankd_shm_submission, tag) == 8, "layout");
static_assert(offsetof(struct rankd_shm_submission, timeout_ns) == 16, "layout");
static_assert(offsetof(struct rankd_shm_submission, descriptor_offset) == 24, "layout");
static_assert(offsetof(struct rankd_shm_submission, reply_offset) == 32, "layout");
static_assert(offsetof(struct rankd_shm_submission, cancel_tag) == 40, "layout");
static_assert(offsetof(struct rankd_shm_submission, reserved) == 48, "layout");

/* An entry of the completion ring. */
struct rankd_shm_completion {
    uint64_t tag;
    uint32_t status; /* enum rankd_status */
    uint32_t reserved0;
    uint64_t queue_ns;   /* from taking the entry to the start of the computation */
    uint64_t compute_ns; /* the computation, and the append if there is one */
    uint64_t reserved[4];
};

static_assert(sizeof(struct rankd_shm_completion) == RANKD_SHM_ENTRY_BYTES, "entry");
static_assert(offsetof(struct rankd_shm_completion, tag) == 0, "layout");
static_assert(offsetof(struct rankd_shm_completion, status) == 8, "layout");
static_assert(offsetof(struct rankd_shm_completion, queue_ns) == 16, "layout");
static_assert(offsetof(struct rankd_shm_completion, compute_ns) == 24, "layout");
static_assert(offsetof(struct rankd_shm_completion, reserved) == 32, "layout");

/* ---- Target of an INFER entry ---------------------------------------------------------------- */

/* Head of a descriptor. After it, without gaps: `inputs` tensors, `outputs` tensors, then
 * `parameters` parameters, each followed by its text. */
struct rankd_shm_descriptor {
    uint32_t version; /* RANKD_SHM_VERSION */
    uint32_t inputs;
    uint32_t
        outputs; /* 0: the defaults of the model are computed, and only the numbers of the reply come back */
    uint32_t parameters;
    char model[RANKD_NAME_BYTES]; /* "ap", …, filled up with NUL */
    char id[64];                  /* name of the request for logs, or NUL */
    uint64_t reserved[2];
};

static_assert(sizeof(struct rankd_shm_descriptor) == 128, "descriptor");
static_assert(offsetof(struct rankd_shm_descriptor, version) == 0, "layout");
static_assert(offsetof(struct rankd_shm_descriptor, inputs) == 4, "layout");
static_assert(offsetof(struct rankd_shm_descriptor, outputs) == 8, "layout");
static_assert(offsetof(struct rankd_shm_descriptor, parameters) == 12, "layout");
static_assert(offsetof(struct rankd_shm_descriptor, model) == 16, "layout");
static_assert(offsetof(struct rankd_shm_descriptor, id) == 48, "layout");
static_assert(offsetof(struct rankd_shm_descriptor, reserved) == 112, "layout");

/* A tensor in the arena, row-major. For an input, `bytes` is exactly the product of shape and
 * element size; for an output it is the available room, and dtype, rank and shape are ignored. */
struct rankd_shm_tensor {
    uint32_t port;  /* enum rankd_input or rankd_output */
    uint32_t dtype; /* enum rankd_dtype */
    uint32_t rank;  /* 1 or 2 */
    uint32_t reserved0;
    uint64_t shape[RANKD_TENSOR_RANK];
    uint64_t offset;
    uint64_t bytes;
    uint64_t reserved[2];
};

static_assert(sizeof(struct rankd_shm_tensor) == 64, "tensor");
static_assert(offsetof(struct rankd_shm_tensor, port) == 0, "layout");
static_assert(offsetof(struct rankd_shm_tensor, dtype) == 4, "layout");
static_assert(offsetof(struct rankd_shm_tensor, rank) == 8, "layout");
static_assert(offsetof(struct rankd_shm_tensor, shape) == 16, "layout");
static_assert(offsetof(struct rankd_shm_tensor, offset) == 32, "layout");
static_assert(offsetof(struct rankd_shm_tensor, bytes) == 40, "layout");
static_assert(offsetof(struct rankd_shm_tensor, reserved) == 48, "layout");

enum rankd_parameter_type { RANKD_PARAMETER_NUMBER = 1, RANKD_PARAMETER_FLAG = 2, RANKD_PARAMETER_TEXT = 3 };

struct rankd_shm_parameter {
    char name[RANKD_NAME_BYTES]; /* filled up with NUL */
    uint32_t type;               /* enum rankd_parameter_type */
    uint32_t text_bytes; /* of the text that follows, without NUL, padded with NUL to a multiple of 8 */
    double number;       /* a flag is 0 or 1 */
};

static_assert(sizeof(struct rankd_shm_parameter) == 48, "parameter");
static_assert(offsetof(struct rankd_shm_parameter, name) == 0, "layout");
static_assert(offsetof(struct rankd_shm_parameter, type) == 32, "layout");
static_assert(offsetof(struct rankd_shm_parameter, text_bytes) == 36, "layout");
static_assert(offsetof(struct rankd_shm_parameter, number) == 40, "layout");

/* The result of one output. If the room is too small, `bytes` is the needed size. */
struct rankd_shm_result {
    uint32_t dtype;
    uint32_t rank;
    uint64_t shape[RANKD_TENSOR_RANK];
    uint64_t bytes;
};

static_assert(sizeof(struct rankd_shm_result) == 32, "result");
static_assert(offsetof(struct rankd_shm_result, dtype) == 0, "layout");
static_assert(offsetof(struct rankd_shm_result, rank) == 4, "layout");
static_assert(offsetof(struct rankd_shm_result, shape) == 8, "layout");
static_assert(offsetof(struct rankd_shm_result, bytes) == 24, "layout");

enum { RANKD_HAS_GRADIENT = 1u << 0, RANKD_HAS_BANK = 1u << 1, RANKD_HAS_CHAIN = 1u << 2 };

/* Written by the daemon at reply_offset of the entry, before the completion is published. */
struct rankd_shm_reply {
    uint32_t status;  /* as in the completion */
    uint32_t outputs; /* bits 1u << RANKD_OUT_* of the written outputs */
    uint32_t has;     /* RANKD_HAS_*: which of the numbers below are valid */
    uint32_t numbers; /* bits 1u << RANKD_REPLY_*: which elements of number[] are valid */
    double loss;
    uint64_t lists;
    uint64_t lists_skipped;
    uint64_t lists_stalled;    /* with RANKD_HAS_GRADIENT */
    uint64_t gradient_nonzero; /* with RANKD_HAS_GRADIENT */
    uint64_t bank_items;       /* this and the following with RANKD_HAS_BANK */
    uint64_t bank_version;
    uint64_t bank_version_appended; /* 0 = nothing was appended */
    uint64_t bank_generation;
    double gradient_dropped;
    struct rankd_shm_result results[8]; /* by enum rankd_output; the last one is reserve */
    double number[16];                  /* by enum rankd_reply_number; NaN: there is none */
    /* With RANKD_HAS_CHAIN, of a bank in a store: 32 hexadecimal digits without a NUL; a NUL first:
     * it is not known any more. */
    char bank_chain[32];
    char error[RANKD_ERROR_BYTES]; /* with a status other than 0: one sentence, NUL-terminated */
};

static_assert(RANKD_OUT_COUNT <= 8, "results");
static_assert(RANKD_REPLY_NUMBERS <= 16, "numbers");
static_assert(sizeof(struct rankd_shm_reply) == 1024, "reply");
static_assert(offsetof(struct rankd_shm_reply, status) == 0, "layout");
static_assert(offsetof(struct rankd_shm_reply, outputs) == 4, "layout");
static_assert(offsetof(struct rankd_shm_reply, has) == 8, "layout");
static_assert(offsetof(struct rankd_shm_reply, numbers) == 12, "layout");
static_assert(offsetof(struct rankd_shm_reply, loss) == 16, "layout");
static_assert(offsetof(struct rankd_shm_reply, lists) == 24, "layout");
static_assert(offsetof(struct rankd_shm_reply, lists_skipped) == 32, "layout");
static_assert(offsetof(struct rankd_shm_reply, lists_stalled) == 40, "layout");
static_assert(offsetof(struct rankd_shm_reply, gradient_nonzero) == 48, "layout");
static_assert(offsetof(struct rankd_shm_reply, bank_items) == 56, "layout");
static_assert(offsetof(struct rankd_shm_reply, bank_version) == 64, "layout");
static_assert(offsetof(struct rankd_shm_reply, bank_version_appended) == 72, "layout");
static_assert(offsetof(struct rankd_shm_reply, bank_generation) == 80, "layout");
static_assert(offsetof(struct rankd_shm_reply, gradient_dropped) == 88, "layout");
static_assert(offsetof(struct rankd_shm_reply, results) == 96, "layout");
static_assert(offsetof(struct rankd_shm_reply, number) == 352, "layout");
static_assert(offsetof(struct rankd_shm_reply, bank_chain) == 480, "layout");
static_assert(offsetof(struct rankd_shm_reply, error) == 512, "layout");

/* ---- Packets on the socket (SOCK_SEQPACKET) -------------------------------------------------- */

/* A packet of one byte is a doorbell, for any value of the byte. Every other packet begins with its
 * kind. */
enum rankd_packet_kind {
    RANKD_PACKET_HELLO = 0x4f4c4548u,   /* client, first: struct rankd_hello */
    RANKD_PACKET_WELCOME = 0x434c4557u, /* daemon: struct rankd_welcome and, on success, the segment's fd */
    RANKD_PACKET_CALL = 0x4c4c4143u,    /* client: struct rankd_control, "METHOD PATH", NUL, body */
    RANKD_PACKET_ANSWER = 0x57534e41u,  /* daemon: struct rankd_control and a page of the body */
    RANKD_PACKET_PAGE = 0x45474150u /* client: struct rankd_control alone; asks for the page at `offset` */
};

struct rankd_hello {
    uint32_t kind;
    uint32_t version_min; /* range of layouts that the client knows */
    uint32_t version_max;
    uint32_t entries;     /* wanted, rounded up to a power of two; 0 = the daemon's default */
    uint64_t arena_bytes; /* wanted; 0 = the daemon's default */
    uint32_t spin_us;     /* wanted spin time; the daemon grants it or not (spin_ns) */
    uint32_t reserved0;
    uint64_t reserved[4];
};

static_assert(sizeof(struct rankd_hello) == 64, "hello");
static_assert(offsetof(struct rankd_hello, kind) == 0, "layout");
static_assert(offsetof(struct rankd_hello, version_min) == 4, "layout");
static_assert(offsetof(struct rankd_hello, version_max) == 8, "layout");
static_assert(offsetof(struct rankd_hello, entries) == 12, "layout");
static_assert(offsetof(struct rankd_hello, arena_bytes) == 16, "layout");
static_assert(offsetof(struct rankd_hello, spin_us) == 24, "layout");
static_assert(offsetof(struct rankd_hello, reserved) == 32, "layout");

struct rankd_welcome {
    uint32_t kind;
    uint32_t
        status; /* enum rankd_status; other than 0: there is no fd, and the daemon closes the connection */
    uint32_t version; /* the layout of the segment; on failure the newest one that the daemon knows */
    uint32_t entries;
    uint64_t segment_bytes;
    uint64_t daemon_id;
    char text[RANKD_ERROR_BYTES]; /* on failure: one sentence, NUL-terminated */
    uint64_t reserved[4];
};

static_assert(sizeof(struct rankd_welcome) == 576, "welcome");
static_assert(offsetof(struct rankd_welcome, kind) == 0, "layout");
static_assert(offsetof(struct rankd_welcome, status) == 4, "layout");
static_assert(offsetof(struct rankd_welcome, version) == 8, "layout");
static_assert(offsetof(struct rankd_welcome, entries) == 12, "layout");
static_assert(offsetof(struct rankd_welcome, segment_bytes) == 16, "layout");
static_assert(offsetof(struct rankd_welcome, daemon_id) == 24, "layout");
static_assert(offsetof(struct rankd_welcome, text) == 32, "layout");
static_assert(offsetof(struct rankd_welcome, reserved) == 544, "layout");

/* Head of the packets of the control channel. One call at a time per connection. */
struct rankd_control {
    uint32_t kind;
    uint32_t tag;         /* chosen by the client, returned in the answer */
    uint32_t http_status; /* of an answer: 200, 404, … */
    uint32_t reserved0;
    uint64_t total_bytes; /* of the whole body of an answer */
    uint64_t offset;      /* of this page within it */
};

static_assert(sizeof(struct rankd_control) == 32, "control");
static_assert(offsetof(struct rankd_control, kind) == 0, "layout");
static_assert(offsetof(struct rankd_control, tag) == 4, "layout");
static_assert(offsetof(struct rankd_control, http_status) == 8, "layout");
static_assert(offsetof(struct rankd_control, total_bytes) == 16, "layout");
static_assert(offsetof(struct rankd_control, offset) == 24, "layout");

#endif
