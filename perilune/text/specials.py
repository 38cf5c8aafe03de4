"""The published special tokens: their names, and their places after the ranks of a vocabulary.

A vocabulary of n ranks has SPECIAL_COUNT special ids n … n + 255. The published one has n = 163584;
every other vocabulary of this layout keeps the same offsets from its own n.
"""

SPECIAL_COUNT = 256

BOS, EOS, EOT, UNK, PAD = "[BOS]", "[EOS]", "[EOT]", "[UNK]", "[PAD]"
IM_END, IM_MIDDLE = "<|im_end|>", "<|im_middle|>"
IM_USER, IM_ASSISTANT, IM_SYSTEM = "<|im_user|>", "<|im_assistant|>", "<|im_system|>"
SECTION_BEGIN, SECTION_END = "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"
CALL_BEGIN, CALL_END = "<|tool_call_begin|>", "<|tool_call_end|>"
ARGUMENT_BEGIN = "<|tool_call_argument_begin|>"
MEDIA_BEGIN, MEDIA_CONTENT = "<|media_begin|>", "<|media_content|>"
MEDIA_END, MEDIA_PAD = "<|media_end|>", "<|media_pad|>"
THINK, END_THINK = "<think>", "</think>"

OFFSETS: dict[int, str] = {
    0: BOS,
    1: EOS,
    2: IM_END,
    3: IM_USER,
    4: IM_ASSISTANT,
    6: "<|start_header_id|>",
    7: "<|end_header_id|>",
    9: EOT,
    10: IM_SYSTEM,
    11: SECTION_BEGIN,
    12: SECTION_END,
    13: CALL_BEGIN,
    14: ARGUMENT_BEGIN,
    15: CALL_END,
    17: IM_MIDDLE,
    18: MEDIA_BEGIN,
    19: MEDIA_CONTENT,
    20: MEDIA_END,
    21: MEDIA_PAD,
    22: THINK,
    23: END_THINK,
    254: UNK,
    255: PAD,
}


def reserved_name(token_id: int) -> str:
    """The name of a special id that has no other."""
    return f"<|reserved_token_{token_id}|>"
