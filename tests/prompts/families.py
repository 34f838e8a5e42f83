"""Chat templates of model families, written from the prompt formats that their makers document.

They are not the makers' own files: each writes the documented prompt, by the means that the real
ones use (trimming, cutting out earlier thinking, `strftime_now`, the `generation` tag).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """A template, and what of a vocabulary it writes.

    `control`, `user_defined` and `normal` are special tokens by their kind in the file. `real` is
    the real vocabulary that it belongs to, among those in the tests.
    """

    template: str
    control: tuple[str, ...] = ()
    user_defined: tuple[str, ...] = ()
    normal: tuple[str, ...] = ()
    bos: str | None = None
    eos: str | None = None
    add_bos: bool = False
    takes_system: bool = True
    ending: str | None = None
    real: str | None = None


CHATML = """\
{% for message in messages %}\
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}\
{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

QWEN2_5 = """\
{%- if messages[0]['role'] != 'system' %}
    {{- '<|im_start|>system\\nYou are Qwen, a helpful assistant.<|im_end|>\\n' }}
{%- endif %}
{%- if tools %}{{- '<tool_call>' }}{%- endif %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}"""

QWEN3 = """\
{%- set ns = namespace(last=-1) %}
{%- for message in messages %}
    {%- if message.role == 'user' and not (message.content.startswith('<tool_response>') \
and message.content.endswith('</tool_response>')) %}
        {%- set ns.last = loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}{%- set content = message.content %}\
{%- else %}{%- set content = '' %}{%- endif %}
    {%- if message.role == 'assistant' %}
        {%- set thought = '' %}
        {%- if '</think>' in content %}
            {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1] %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\\n' }}
        {%- if loop.index0 > ns.last and thought %}
            {{- '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' }}
        {%- endif %}
        {{- content + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""

QWQ = """\
{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {%- set content = (message.content.split('</think>')|last).lstrip('\\n') %}
        {{- '<|im_start|>assistant\\n' + content + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think>\\n' }}{%- endif %}"""

LLAMA_2 = """\
{% if messages[0]['role'] == 'system' %}\
{% set turns = messages[1:] %}{% set system = messages[0]['content'] %}\
{% else %}{% set turns = messages %}{% set system = false %}{% endif %}\
{% for message in turns %}\
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('user and assistant have to take turns') }}{% endif %}\
{% if loop.index0 == 0 and system %}\
{% set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + message['content'] %}\
{% else %}{% set content = message['content'] %}{% endif %}\
{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}\
{% else %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}\
{% endfor %}"""

LLAMA_3 = """\
{% for message in messages %}\
{% set turn = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' \
+ message['content'] | trim + '<|eot_id|>' %}\
{% if loop.index0 == 0 %}{% set turn = bos_token + turn %}{% endif %}{{ turn }}\
{% endfor %}\
{% if add_generation_prompt %}\
{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""

LLAMA_3_2 = """\
{{- bos_token }}
{%- if strftime_now is defined %}
    {%- set today = strftime_now("%d %b %Y") %}
{%- else %}
    {%- set today = "26 Jul 2024" %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}{{- "Environment: ipython\\n" }}{%- endif %}
{{- "Cutting Knowledge Date: December 2023\\nToday Date: " + today + "\\n\\n" }}
{{- system + "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}"""

MISTRAL_V1 = """\
{{ bos_token }}{% for message in messages %}\
{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}\
{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token + ' ' }}\
{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}\
{% endfor %}"""

MIXTRAL = """\
{%- if messages[0]["role"] == "system" %}
    {%- set system = messages[0]["content"] %}
    {%- set turns = messages[1:] %}
{%- else %}
    {%- set turns = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in turns %}
    {%- if message["role"] == "user" %}
        {%- if loop.first and system is defined %}
            {{- " [INST] " + system + "\\n\\n" + message["content"] + " [/INST]" }}
        {%- else %}
            {{- " [INST] " + message["content"] + " [/INST]" }}
        {%- endif %}
    {%- else %}
        {{- " " + message["content"] + eos_token }}
    {%- endif %}
{%- endfor %}"""

MISTRAL_V3 = """\
{%- if messages[0].role == "system" %}
    {%- set system = messages[0].content %}{%- set turns = messages[1:] %}
{%- else %}
    {%- set turns = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in turns %}
    {%- if message.role == "user" %}
        {%- if tools is not none and loop.last %}
            {{- "[AVAILABLE_TOOLS] " + tools|tojson + "[/AVAILABLE_TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system is defined %}
            {{- "[INST] " + system + "\\n\\n" + message.content + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message.content + "[/INST]" }}
        {%- endif %}
    {%- else %}
        {{- " " + message.content|trim + eos_token }}
    {%- endif %}
{%- endfor %}"""

MISTRAL_NEMO = MISTRAL_V3.replace('"[INST] "', '"[INST]"').replace(
    '" " + message.content|trim', "message.content"
)

GEMMA_2 = """\
{{ bos_token }}{% if messages[0]['role'] == 'system' %}\
{{ raise_exception('System role not supported') }}{% endif %}\
{% for message in messages %}\
{% if message['role'] == 'assistant' %}{% set role = 'model' %}\
{% else %}{% set role = message['role'] %}{% endif %}\
{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}\
{% endfor %}\
{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""

GEMMA_3 = """\
{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set prefix = messages[0]['content'] + '\\n\\n' -%}
    {%- set turns = messages[1:] -%}
{%- else -%}
    {%- set prefix = "" -%}
    {%- set turns = messages -%}
{%- endif -%}
{%- for message in turns -%}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\\n' + (prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {{ '<start_of_image>' }}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}"""

PHI_2 = """\
{% for message in messages %}\
{% if message['role'] == 'user' %}{{ 'Instruct: ' + message['content'] + '\\n' }}\
{% elif message['role'] == 'assistant' %}{{ 'Output: ' + message['content'] + eos_token + '\\n' }}\
{% else %}{{ message['content'] + '\\n' }}{% endif %}\
{% endfor %}\
{% if add_generation_prompt %}{{ 'Output:' }}{% endif %}"""

PHI_3 = """\
{% for message in messages %}\
{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}\
{% endfor %}\
{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"""

PHI_4 = """\
{% for message in messages %}\
{{ '<|im_start|>' + message['role'] + '<|im_sep|>' + message['content'] + '<|im_end|>' }}\
{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"""

PHI_4_REASONING = """\
<|im_start|>system<|im_sep|>Think first, inside <think> {Thought} </think>.<|im_end|>\
{% for message in messages %}\
{% if message['role'] == 'assistant' %}<|im_start|>assistant<|im_sep|>\
{% generation %}{{ message['content'] }}<|im_end|>{% endgeneration %}\
{% else %}{{ '<|im_start|>' + message['role'] + '<|im_sep|>' + message['content'] }}<|im_end|>\
{% endif %}{% endfor %}\
{% if add_generation_prompt %}<|im_start|>assistant<|im_sep|>{% endif %}"""

ZEPHYR = """\
{% for message in messages %}\n\
{% if message['role'] == 'user' %}\n\
{{ '<|user|>\\n' + message['content'] + eos_token }}\n\
{% elif message['role'] == 'system' %}\n\
{{ '<|system|>\\n' + message['content'] + eos_token }}\n\
{% elif message['role'] == 'assistant' %}\n\
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}\n\
{% endif %}\n\
{% if loop.last and add_generation_prompt %}\n\
{{ '<|assistant|>' }}\n\
{% endif %}\n\
{% endfor %}"""

OLMO_2 = """\
{{ bos_token }}{% for message in messages %}\
{% if message['role'] == 'assistant' %}\
{{ '<|assistant|>\\n' + message['content'] + eos_token }}\
{% if not loop.last %}{{ '\\n' }}{% endif %}\
{% else %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + '\\n' }}{% endif %}\
{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}\
{% endfor %}"""

TULU_3 = OLMO_2.replace("{{ bos_token }}", "", 1)

GRANITE_3 = """\
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] %}{%- set turns = messages[1:] %}
{%- else %}
    {%- set system = "Knowledge Cutoff Date: April 2024.\\nToday's Date: " \
+ strftime_now('%B %d, %Y') + ".\\nYou are Granite." %}
    {%- set turns = messages %}
{%- endif %}
{{- '<|start_of_role|>system<|end_of_role|>' + system + '<|end_of_text|>\\n' }}
{%- if documents %}{{- '<|start_of_role|>documents<|end_of_role|>' }}{%- endif %}
{%- for message in turns %}
    {{- '<|start_of_role|>' + message['role'] + '<|end_of_role|>' + message['content'] }}
    {{- '<|end_of_text|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_of_role|>assistant<|end_of_role|>' }}
{%- endif %}"""

SMOLLM2 = """\
{% for message in messages %}\
{% if loop.first and messages[0]['role'] != 'system' %}\
{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM<|im_end|>\\n' }}{% endif %}\
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}\
{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

SMOLLM3 = """\
{%- set mode = "/think" -%}
{%- set instructions = "" -%}
{%- if messages[0].role == "system" -%}
    {%- set system = messages[0].content -%}
    {%- if "/no_think" in system -%}{%- set mode = "/no_think" -%}{%- endif -%}
    {%- set instructions = system.replace("/no_think", "").replace("/think", "").rstrip() -%}
{%- endif -%}
{{- "<|im_start|>system\\n## Metadata\\n\\nToday Date: " ~ strftime_now("%d %B %Y") ~ "\\n" -}}
{{- "Reasoning Mode: " + mode + "\\n\\n## Instructions\\n\\n" + instructions + "<|im_end|>\\n" -}}
{%- for message in messages -%}
    {%- if message.role == "user" -%}
        {{- "<|im_start|>user\\n" + message.content + "<|im_end|>\\n" -}}
    {%- elif message.role == "assistant" -%}
        {% generation %}{%- if mode == "/think" -%}\
{{- "<|im_start|>assistant\\n" + message.content.lstrip("\\n") + "<|im_end|>\\n" -}}\
{%- else -%}{{- "<|im_start|>assistant\\n<think>\\n\\n</think>\\n" \
+ message.content.lstrip("\\n") + "<|im_end|>\\n" -}}{%- endif -%}{% endgeneration %}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ "<|im_start|>assistant\\n" }}{%- endif -%}"""

DEEPSEEK_V2 = """\
{{ bos_token }}{% for message in messages %}\
{% if message['role'] == 'user' %}{{ 'User: ' + message['content'] + '\\n\\n' }}\
{% elif message['role'] == 'assistant' %}{{ 'Assistant: ' + message['content'] + eos_token }}\
{% else %}{{ message['content'] + '\\n\\n' }}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"""

DEEPSEEK_R1 = """\
{% set ns = namespace(system='') %}\
{%- for message in messages %}{%- if message['role'] == 'system' %}\
{%- set ns.system = message['content'] %}{%- endif %}{%- endfor %}\
{{ bos_token }}{{ ns.system }}\
{%- for message in messages %}\
{%- if message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}{%- endif %}\
{%- if message['role'] == 'assistant' and message['content'] is not none %}\
{% set content = message['content'] %}\
{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}\
{{ '<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>' }}{%- endif %}\
{%- endfor -%}\
{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\\n' }}{% endif %}"""

DEEPSEEK_V3_1 = """\
{% set ns = namespace(system='', first=true) %}\
{%- for message in messages %}{%- if message['role'] == 'system' %}\
{%- if ns.first %}{%- set ns.system = ns.system + message['content'] %}{%- set ns.first = false %}\
{%- else %}{%- set ns.system = ns.system + '\\n\\n' + message['content'] %}{%- endif %}\
{%- endif %}{%- endfor %}\
{{ bos_token }}{{ ns.system }}\
{%- for message in messages %}\
{%- if message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}{%- endif %}\
{%- if message['role'] == 'assistant' %}\
{{ '<｜Assistant｜></think>' }}{%- set content = message['content'] -%}\
{%- if '</think>' in content %}{%- set content = content.split('</think>', 1)[1] -%}{%- endif %}\
{{ content + '<｜end▁of▁sentence｜>' }}{%- endif %}\
{%- endfor -%}\
{%- if add_generation_prompt and messages[-1]['role'] == 'user' %}\
{{ '<｜Assistant｜>' }}{{ '</think>' }}{% endif %}"""

COMMAND_R = """\
{{ bos_token }}\
{% if messages[0]['role'] == 'system' %}{% set turns = messages[1:] %}\
{% set system = messages[0]['content'] %}{% else %}{% set turns = messages %}\
{% set system = false %}{% endif %}\
{% if system != false %}\
{{ '<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>' + system + '<|END_OF_TURN_TOKEN|>' }}{% endif %}\
{% for message in turns %}{% set content = message['content'] %}\
{% if message['role'] == 'user' %}\
{{ '<|START_OF_TURN_TOKEN|><|USER_TOKEN|>' + content.strip() + '<|END_OF_TURN_TOKEN|>' }}\
{% elif message['role'] == 'assistant' %}\
{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>'  + content.strip() + '<|END_OF_TURN_TOKEN|>' }}\
{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{% endif %}"""

FALCON_3 = """\
{% for message in messages %}\
{% if message['role'] == 'assistant' %}\
{{ '<|assistant|>\\n' + message['content'] }}{% if not loop.last %}{{ eos_token + '\\n' }}\
{% else %}{{ eos_token }}{% endif %}\
{% else %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + '\\n' }}{% endif %}\
{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}\
{% endfor %}"""

STABLELM = """\
{% for message in messages %}\
{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|endoftext|>' + '\\n' }}\
{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}{% endfor %}"""

VICUNA = """\
{% if messages[0]['role'] == 'system' %}{% set turns = messages[1:] %}\
{{ bos_token ~ messages[0]['content'] | trim ~ ' ' }}{% else %}{% set turns = messages %}\
{{ bos_token ~ 'A chat between a curious user and an assistant. ' }}{% endif %}\
{% for message in turns %}\
{% if message['role'] == 'user' %}{{ 'USER: ' ~ message['content'] | trim ~ ' ' }}\
{% else %}{{ 'ASSISTANT: ' ~ message['content'] | trim ~ eos_token }}{% endif %}{% endfor %}\
{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"""

ALPACA = """\
{{ (messages | selectattr('role', 'equalto', 'system') | list | last).content | trim \
if (messages | selectattr('role', 'equalto', 'system') | list) \
else 'Below is an instruction that describes a task.' }}{{ '\\n\\n' }}\
{% for message in messages %}\
{% if message['role'] == 'system' %}{% continue %}{% endif %}\
{% if message['role'] == 'user' %}\
{{ '### Instruction:\\n' + message['content'] | trim + '\\n\\n' }}\
{% else %}{{ '### Response:\\n' + message['content'] | trim + eos_token + '\\n\\n' }}{% endif %}\
{% endfor %}\
{% if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}"""

STARCHAT = """\
{% for message in messages %}\
{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"""

GPT_2 = "{% for message in messages %}{{ message.content }}{{ eos_token }}{% endfor %}"

_IM = ("<|im_start|>", "<|im_end|>")
_HEADERS = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
_LLAMA_3 = (*_HEADERS, "<|end_of_text|>", "<|python_tag|>", "<|reserved_special_token_0|>")
_THINK = ("<think>", "</think>")
_QWEN3 = (*_THINK, "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
_SPM = ("<unk>", "<s>", "</s>")
_INST = ("[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]")
_GEMMA = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<unused0>")
_GEMMA_TEXT = ("<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<table>", "\n\n", "  ")
_DEEPSEEK = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>")
_DEEPSEEK_TURNS = ("<｜User｜>", "<｜Assistant｜>", *_THINK)
_COHERE = ("<BOS_TOKEN>", "<EOS_TOKEN>", "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>")
_COHERE_ROLES = ("<|SYSTEM_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>")
_ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
_END = "<|endoftext|>"


def _sentencepiece(
    template: str, *control: str, takes_system: bool = True, real: str | None = "llama-spm"
) -> Family:
    """A family of Llama 2's vocabulary, and perhaps more special tokens."""
    return Family(
        template,
        (*_SPM, *control),
        bos="<s>",
        eos="</s>",
        add_bos=True,
        takes_system=takes_system,
        real=real,
    )


FAMILIES: dict[str, Family] = {
    "ChatML": Family(CHATML, (*_IM, _END), eos="<|im_end|>", real="qwen2"),
    "Qwen2.5": Family(
        QWEN2_5, (*_IM, _END), ("<tool_call>",), bos=_END, eos="<|im_end|>", real="qwen2"
    ),
    "Qwen3": Family(QWEN3, (*_IM, _END), _QWEN3, eos="<|im_end|>", real="qwen2"),
    "QwQ": Family(QWQ, (*_IM, _END), _THINK, eos="<|im_end|>", real="qwen2"),
    "Llama 2": _sentencepiece(LLAMA_2),
    "Llama 3": Family(
        LLAMA_3, _LLAMA_3, bos="<|begin_of_text|>", eos="<|eot_id|>", add_bos=True, real="llama-bpe"
    ),
    "Llama 3.2": Family(
        LLAMA_3_2, _LLAMA_3, bos="<|begin_of_text|>", eos="<|eot_id|>", real="llama-bpe"
    ),
    "Mistral v1": _sentencepiece(MISTRAL_V1, takes_system=False),
    "Mixtral": _sentencepiece(MIXTRAL),
    "Mistral v3": _sentencepiece(MISTRAL_V3, *_INST, real=None),
    "Mistral Nemo": _sentencepiece(MISTRAL_NEMO, *_INST, real=None),
    "Gemma 2": Family(
        GEMMA_2,
        _GEMMA,
        _GEMMA_TEXT,
        bos="<bos>",
        eos="<eos>",
        add_bos=True,
        takes_system=False,
        ending="<end_of_turn>",
    ),
    "Gemma 3": Family(
        GEMMA_3,
        _GEMMA,
        _GEMMA_TEXT,
        bos="<bos>",
        eos="<eos>",
        add_bos=True,
        ending="<end_of_turn>",
    ),
    "Phi-2": Family(PHI_2, (_END,), ("  ", "    "), bos=_END, eos=_END, real="gpt-2"),
    "Phi-3": Family(
        PHI_3,
        (*_SPM, "<|end|>", *_ROLES, _END),
        bos="<s>",
        eos=_END,
        add_bos=True,
        ending="<|end|>",
        real="phi-3",
    ),
    "Phi-4": Family(PHI_4, (*_IM, "<|im_sep|>", _END), bos=_END, eos="<|im_end|>"),
    "Phi-4 reasoning": Family(
        PHI_4_REASONING, (*_IM, "<|im_sep|>", _END), bos=_END, eos="<|im_end|>"
    ),
    "TinyLlama": _sentencepiece(ZEPHYR),
    "OLMo 2": Family(OLMO_2, (_END, "<|pad|>"), bos=_END, eos=_END),
    "Tülu 3": Family(
        TULU_3,
        _LLAMA_3,
        bos="<|begin_of_text|>",
        eos="<|end_of_text|>",
        add_bos=True,
        real="llama-bpe",
    ),
    "Granite 3": Family(
        GRANITE_3,
        ("<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>"),
        bos="<|end_of_text|>",
        eos="<|end_of_text|>",
    ),
    "SmolLM2": Family(SMOLLM2, (*_IM, _END), bos="<|im_start|>", eos="<|im_end|>"),
    "SmolLM3": Family(SMOLLM3, (*_IM, _END), eos="<|im_end|>"),
    "DeepSeek V2": Family(DEEPSEEK_V2, _DEEPSEEK, bos=_DEEPSEEK[0], eos=_DEEPSEEK[1], add_bos=True),
    "DeepSeek R1": Family(
        DEEPSEEK_R1, _DEEPSEEK, _DEEPSEEK_TURNS, bos=_DEEPSEEK[0], eos=_DEEPSEEK[1], add_bos=True
    ),
    "DeepSeek V3.1": Family(
        DEEPSEEK_V3_1, _DEEPSEEK, _DEEPSEEK_TURNS, bos=_DEEPSEEK[0], eos=_DEEPSEEK[1], add_bos=True
    ),
    "Yi": Family(CHATML, ("<|startoftext|>", _END), normal=_IM, eos=_END, ending="<|im_end|>"),
    "Command R": Family(
        COMMAND_R,
        (*_COHERE, *_COHERE_ROLES),
        bos="<BOS_TOKEN>",
        eos="<EOS_TOKEN>",
        add_bos=True,
        ending="<|END_OF_TURN_TOKEN|>",
    ),
    "Falcon 3": Family(FALCON_3, (_END, ">>TITLE<<"), _ROLES, eos=_END),
    "StableLM": Family(STABLELM, (_END,), normal=_ROLES, bos=_END, eos=_END),
    "Vicuna": _sentencepiece(VICUNA),
    "Alpaca": _sentencepiece(ALPACA),
    "StarChat": Family(
        STARCHAT,
        (_END, "<fim_prefix>", "<|end|>", *_ROLES),
        eos=_END,
        ending="<|end|>",
        real="starcoder",
    ),
    "GPT-2": Family(GPT_2, (_END,), bos=_END, eos=_END, real="gpt-2"),
}
