"""The phases of one fused decode step, each run by every thread of the team; see decode_cpu.py for the plan.

B sequences · D model width · H heads · N nope and R rope width · L latent rank · V value width · E experts.
A phase's chunks are claimed by whoever is free; what is cheap (norms, routing) every thread repeats for itself.
Tensors are addresses; `d` holds the sizes, `p` float parameters, `m` a layer's matrices, `kinds` what each is kept as.
"""

import math

import numpy as np

from perilune.kernels import threads as team
from perilune.kernels.int4_cpu import CHUNK, down, gate_up, pack_row, run_length
from perilune.kernels.jit import address, entry, kernel
from perilune.kernels.linear_cpu import chunk_rows, product, row_bytes
from perilune.kernels.mix import mix_rows, rms_norm, softmax_block
from perilune.kernels.simd import peek_f32, peek_i64, poke_f32, poke_i64
from perilune.kernels.tiles import FLOAT32, INT8
from perilune.kernels.vector import add_scaled, sigmoid, swiglu

# Sizes.
(
    B, D, H, Q_RANK, L, N, R, V, E, TOP_K, F, VOCAB, LAYERS, ROTARY, NORM_TOPK, MODE, X_BYTES, H_BYTES, PARTS, LOCAL
) = range(20)  # fmt: skip
# Float parameters.
EPS, LATENT_EPS, SOFTMAX_SCALE, ROUTED_SCALE = range(4)
# Matrices of a layer; GATE, UP, DOWN are the dense layer's or the shared expert's, INNER their width.
(
    IN_NORM, Q_A, Q_NORM, Q_B, KV_A, KV_NORM, KV_B, OUT, POST_NORM, ROUTER, BIAS, GATE, UP, DOWN, INNER, TABLE
) = range(16)  # fmt: skip
# Buffers shared by the threads.
X, QA, KVA, Q, Q_LATENT, PART, PART_SUMS, HEADS, SCORES, INNER_H, PACKED, HIDDEN, MOE, LOGITS = range(14)
HEAD_GROUP = 4


@kernel
def norm_rows(count, x, weight, width, eps, out, table):
    """RMS norm of each row, and the table of their addresses."""
    for b in range(count):
        rms_norm(x + b * width * 4, weight, out + b * width * 4, width, eps)
        poke_i64(table + 8 * b, out + b * width * 4)


@kernel
def copy_floats(source, target, count):
    for i in range(count):
        poke_f32(target + 4 * i, peek_f32(source + 4 * i))


@kernel
def scale_by_rows(x, x_stride, count, scales, stride, n):
    """x[c, j] *= the scale that lies `stride` bytes after that of j − 1."""
    for c in range(count):
        for j in range(n):
            at = x + c * x_stride + 4 * j
            poke_f32(at, peek_f32(at) * peek_f32(scales + j * stride))


@kernel
def rotate(kind, x, width, cos, sin):
    """Rotary embedding in place; kind 0: none, 1: pairs (2i, 2i+1), 2: pairs (i, i + width/2)."""
    for i in range(width // 2 if kind else 0):
        first = x + (8 * i if kind == 1 else 4 * i)
        second = first + (4 if kind == 1 else 2 * width)
        a, b, c, s = peek_f32(first), peek_f32(second), peek_f32(cos + 4 * i), peek_f32(sin + 4 * i)
        poke_f32(first, a * c - b * s)
        poke_f32(second, b * c + a * s)


@kernel
def project(sync, phase, d, p, m, kinds, buf, local, table):
    """Norm, then the first query projection and the latent projection."""
    b, width, kv = d[B], d[D], d[L] + d[R]
    norm_rows(b, buf[X], m[IN_NORM], width, p + 4 * EPS, local, table)
    matrix, q_width, target = (Q_A, d[Q_RANK], buf[QA]) if d[Q_RANK] else (Q_B, d[H] * (d[N] + d[R]), buf[Q])
    q_size, kv_size = row_bytes(kinds[matrix], width), row_bytes(kinds[KV_A], width)
    rows = chunk_rows(q_width + kv, q_size)
    q_chunks = (q_width + rows - 1) // rows
    total, done = q_chunks + (kv + rows - 1) // rows, 0
    chunk = team.claim(sync, phase)
    while chunk < total:
        if chunk < q_chunks:
            r = chunk * rows
            n = min(rows, q_width - r)
            product(kinds[matrix], m[matrix] + r * q_size, n, table, b, width, target + 4 * r, 4 * q_width)
        else:
            r = (chunk - q_chunks) * rows
            product(kinds[KV_A], m[KV_A] + r * kv_size, min(rows, kv - r), table, b, width, buf[KVA] + 4 * r, 4 * kv)
        done += 1
        chunk = team.claim(sync, phase)
    team.finish(sync, phase, done, total)


@kernel
def absorb(sync, phase, d, p, m, kinds, buf, local, table, cos, sin, caches, lengths):
    """Per sequence: append the cache row. Per head: query, rotation, and the query moved into latent space."""
    b, latent, rope, head = d[B], d[L], d[R], d[N] + d[R]
    kv, q_stride = latent + rope, d[H] * head * 4
    if d[Q_RANK]:
        norm_rows(b, buf[QA], m[Q_NORM], d[Q_RANK], p + 4 * LATENT_EPS, local, table)
    up_size = row_bytes(kinds[KV_B], latent)
    total, done = b + d[H], 0
    chunk = team.claim(sync, phase)
    while chunk < total:
        if chunk < b:
            row, source = peek_i64(caches + 8 * chunk) + lengths[chunk] * kv * 4, buf[KVA] + chunk * kv * 4
            rms_norm(source, m[KV_NORM], row, latent, p + 4 * LATENT_EPS)
            copy_floats(source + 4 * latent, row + 4 * latent, rope)
            rotate(d[ROTARY], row + 4 * latent, rope, cos + chunk * rope * 2, sin + chunk * rope * 2)
        else:
            h = chunk - b
            q = buf[Q] + h * head * 4
            if d[Q_RANK]:
                size = row_bytes(kinds[Q_B], d[Q_RANK])
                product(kinds[Q_B], m[Q_B] + h * head * size, head, table, b, d[Q_RANK], q, q_stride)
            for i in range(b):
                rotate(d[ROTARY], q + i * q_stride + 4 * d[N], rope, cos + i * rope * 2, sin + i * rope * 2)
                for j in range(head):
                    at = q + i * q_stride + 4 * j
                    poke_f32(at, peek_f32(at) * peek_f32(p + 4 * SOFTMAX_SCALE))
            up_k = m[KV_B] + h * (d[N] + d[V]) * up_size
            if kinds[KV_B] == INT8:
                scale_by_rows(q, q_stride, b, up_k + latent, up_size, d[N])
            target = buf[Q_LATENT] + h * kv * 4
            mix_rows(kinds[KV_B], up_k, up_size, q, q_stride, d[N], target, d[H] * kv * 4, b, latent)
            for i in range(b):
                copy_floats(q + i * q_stride + 4 * d[N], target + (i * d[H] * kv + latent) * 4, rope)
        done += 1
        chunk = team.claim(sync, phase)
    team.finish(sync, phase, done, total)


@entry()
def block_size(length):
    """Cached tokens of one attention chunk: it depends on the sequence alone, never on threads or neighbours."""
    return max(128, (length + 64 * 128 - 1) // (64 * 128) * 128)


@kernel
def attend(sync, phase, d, buf, local, table, caches, lengths):
    """Softmax parts: four heads of one sequence against one block of its cache."""
    latent, kv, heads = d[L], d[L] + d[R], d[H]
    groups = (heads + HEAD_GROUP - 1) // HEAD_GROUP
    total, done = 0, 0
    for i in range(d[B]):
        total += groups * ((lengths[i] + block_size(lengths[i] + 1)) // block_size(lengths[i] + 1))
    chunk = team.claim(sync, phase)
    while chunk < total:
        i, rest = 0, chunk
        size = block_size(lengths[0] + 1)
        while rest >= groups * ((lengths[i] + size) // size):
            rest -= groups * ((lengths[i] + size) // size)
            i += 1
            size = block_size(lengths[i] + 1)
        part, h = rest // groups, rest % groups * HEAD_GROUP
        n, count = min(size, lengths[i] + 1 - part * size), min(HEAD_GROUP, heads - h)
        for c in range(count):
            poke_i64(table + 8 * c, buf[Q_LATENT] + (i * heads + h + c) * kv * 4)
        rows = peek_i64(caches + 8 * i) + part * size * kv * 4
        product(FLOAT32, rows, n, table, count, kv, local, 4 * size)
        slot = (i * d[PARTS] + part) * heads + h
        for c in range(count):
            softmax_block(local + c * 4 * size, n, buf[PART_SUMS] + (slot + c) * 8)
        mix_rows(FLOAT32, rows, kv * 4, local, 4 * size, n, buf[PART] + slot * latent * 4, latent * 4, count, latent)
        done += 1
        chunk = team.claim(sync, phase)
    team.finish(sync, phase, done, total)


@kernel
def gather_heads(sync, phase, d, m, kinds, buf, local, table, lengths):
    """Per head: join the softmax parts, then the value projection."""
    latent, heads, total, done = d[L], d[H], d[H], 0
    size = row_bytes(kinds[KV_B], latent)
    factor = np.empty(1, np.float32)
    h = team.claim(sync, phase)
    while h < total:
        for i in range(d[B]):
            parts = (lengths[i] + block_size(lengths[i] + 1)) // block_size(lengths[i] + 1)
            sums = buf[PART_SUMS] + (i * d[PARTS] * heads + h) * 8
            top, whole = peek_f32(sums), np.float32(0)
            for part in range(1, parts):
                top = max(top, peek_f32(sums + part * heads * 8))
            for part in range(parts):
                at = sums + part * heads * 8
                whole += np.float32(math.exp(peek_f32(at) - top)) * peek_f32(at + 4)
            out = local + i * latent * 4
            for j in range(latent):
                poke_f32(out + 4 * j, np.float32(0))
            for part in range(parts):
                factor[0] = np.float32(math.exp(peek_f32(sums + part * heads * 8) - top)) / whole
                source = buf[PART] + ((i * d[PARTS] + part) * heads + h) * latent * 4
                add_scaled(out, address(factor), source, latent)
            poke_i64(table + 8 * i, out)
        up_v = m[KV_B] + (h * (d[N] + d[V]) + d[N]) * size
        product(kinds[KV_B], up_v, d[V], table, d[B], latent, buf[HEADS] + h * d[V] * 4, heads * d[V] * 4)
        done += 1
        h = team.claim(sync, phase)
    team.finish(sync, phase, done, total)


@kernel
def add_product(sync, phase, kind, w, n, source, k, count, x, local, table):
    """x[b] += W source[b] in chunks of rows."""
    size = row_bytes(kind, k)
    rows = chunk_rows(n, size)
    total, done = (n + rows - 1) // rows, 0
    for b in range(count):
        poke_i64(table + 8 * b, source + b * k * 4)
    chunk = team.claim(sync, phase)
    while chunk < total:
        r = chunk * rows
        height = min(rows, n - r)
        product(kind, w + r * size, height, table, count, k, local, 4 * height)
        for b in range(count):
            for j in range(height):
                at = x + (b * n + r + j) * 4
                poke_f32(at, peek_f32(at) + peek_f32(local + (b * height + j) * 4))
        done += 1
        chunk = team.claim(sync, phase)
    team.finish(sync, phase, done, total)


@kernel
def open_feed_forward(sync, phase, d, p, m, kinds, buf, local, table):
    """Norm, router scores, and the hidden rows of the dense layer or shared expert."""
    b, width, inner, experts = d[B], d[D], m[INNER], d[E] if m[TABLE] else 0
    norm_rows(b, buf[X], m[POST_NORM], width, p + 4 * EPS, local, table)
    gate = local + b * width * 4
    up = gate + b * CHUNK * 4
    packs, routes = b if experts else 0, (experts + CHUNK - 1) // CHUNK
    total, done = packs + routes + (inner + CHUNK - 1) // CHUNK, 0
    size, route_size = row_bytes(kinds[GATE], width), row_bytes(kinds[ROUTER], width)
    up_size = row_bytes(kinds[UP], width)
    chunk = team.claim(sync, phase)
    while chunk < total:
        if chunk < packs:
            pack_row(d[MODE], local + chunk * width * 4, width, buf[PACKED] + chunk * d[X_BYTES])
        elif chunk < packs + routes:
            r = (chunk - packs) * CHUNK
            n, w = min(CHUNK, experts - r), m[ROUTER] + r * route_size
            product(kinds[ROUTER], w, n, table, b, width, buf[SCORES] + 4 * r, 4 * experts)
        else:
            r = (chunk - packs - routes) * CHUNK
            n = min(CHUNK, inner - r)
            product(kinds[GATE], m[GATE] + r * size, n, table, b, width, gate, 4 * CHUNK)
            product(kinds[UP], m[UP] + r * up_size, n, table, b, width, up, 4 * CHUNK)
            for i in range(b):
                swiglu(gate + i * CHUNK * 4, up + i * CHUNK * 4, buf[INNER_H] + (i * inner + r) * 4, n)
        done += 1
        chunk = team.claim(sync, phase)
    team.finish(sync, phase, done, total)


@kernel
def route(d, p, m, scores, ids_BK, weights_BK, work):
    """Each token's top experts by score plus bias (lowest id on a tie), and their weights from the scores alone."""
    experts = d[E]
    for b in range(d[B]):
        sigmoid(scores + b * experts * 4, work, experts)
        total = np.float32(0)
        for slot in range(d[TOP_K]):
            best, best_value = -1, np.float32(-np.inf)
            for e in range(experts):
                value = peek_f32(work + 4 * e) + peek_f32(m[BIAS] + 4 * e)
                if best < 0 or value > best_value:
                    taken = False
                    for before in range(slot):
                        taken = taken or ids_BK[b, before] == e
                    if not taken:
                        best, best_value = e, value
            ids_BK[b, slot] = best
            weights_BK[b, slot] = peek_f32(work + 4 * best)
            total += weights_BK[b, slot]
        for slot in range(d[TOP_K]):
            if d[NORM_TOPK]:
                weights_BK[b, slot] /= total + np.float32(1e-20)
            weights_BK[b, slot] *= peek_f32(p + 4 * ROUTED_SCALE)


@kernel
def open_experts(sync, phase, d, buf, table_E6, pairs, start, active, which, used, work):
    """Hidden rows of chosen experts: of those whose places in `active` stand in `which`, `used` of them."""
    rows, x, h, x_bytes, h_bytes = d[F] // CHUNK, buf[PACKED], buf[HIDDEN], d[X_BYTES], d[H_BYTES]
    run = run_length(d[D], used * rows)
    shares = (rows + run - 1) // run
    total, done = used * shares, 0
    share = team.claim(sync, phase)
    while share < total:
        a, begin = which[share // shares], share % shares * run
        first, last, entry = start[a], start[a + 1], table_E6[active[a]]
        for chunk in range(begin, min(begin + run, rows)):
            row = chunk * CHUNK
            gate_up(d[MODE], row, pairs, first, last, d[TOP_K], x, x_bytes, entry, d[D], d[F], h, h_bytes, work)
        done += 1
        share = team.claim(sync, phase)
    team.finish(sync, phase, done, total)


@kernel
def close_experts(sync, phase, d, m, kinds, buf, local, table, table_E6, pairs, start, active, used, weights, work):
    """x += experts (ascending) + shared expert, in runs of chunks of rows."""
    b, inner, rows, done = d[B], m[INNER], d[D] // CHUNK, 0
    run = run_length(d[F], rows)
    total, out, h, h_bytes = closing_shares(d), buf[MOE], buf[HIDDEN], d[H_BYTES]
    for i in range(b):
        poke_i64(table + 8 * i, buf[INNER_H] + i * inner * 4)
    share = team.claim(sync, phase)
    while share < total:
        begin, end = share * run, min(share * run + run, rows)
        for i in range(b):
            for j in range(begin * CHUNK, end * CHUNK):
                poke_f32(out + (i * d[D] + j) * 4, np.float32(0))
        for a in range(used):
            first, last, entry = start[a], start[a + 1], table_E6[active[a]]
            for chunk in range(begin, end):
                row = chunk * CHUNK
                down(d[MODE], row, pairs, first, last, d[TOP_K], weights, entry, d[D], d[F], h, h_bytes, out, work)
        for chunk in range(begin, end):
            add_shared(chunk * CHUNK, d, m, kinds, buf, local, table)
        done += 1
        share = team.claim(sync, phase)
    team.finish(sync, phase, done, total)


@kernel
def closing_shares(d):
    """How many shares `close_experts` has; it depends on sizes alone."""
    run = run_length(d[F], d[D] // CHUNK)
    return (d[D] // CHUNK + run - 1) // run


@kernel
def add_shared(row, d, m, kinds, buf, local, table):
    """x += routed + shared for CHUNK rows of each sequence."""
    b, width, inner = d[B], d[D], m[INNER]
    if inner:
        size = row_bytes(kinds[DOWN], inner)
        product(kinds[DOWN], m[DOWN] + row * size, CHUNK, table, b, inner, local, 4 * CHUNK)
    for i in range(b):
        for j in range(CHUNK):
            at, y = (i * width + row + j) * 4, np.float32(0)
            if inner:
                y = peek_f32(local + (i * CHUNK + j) * 4)
            poke_f32(buf[X] + at, peek_f32(buf[X] + at) + (peek_f32(buf[MOE] + at) + y))
