"""What an application does with the official client; prints how many checks passed. Usage: python_client.py BASE_URL"""

import sys

import openai

LOCAL = "local/smollm2-135m-instruct"
CLOUD = "cloud/a"
client = openai.OpenAI(base_url=sys.argv[1], api_key="unused", max_retries=0)
messages = [{"role": "user", "content": "Name three colours."}]
checks = 0


def check(condition, what):
    global checks
    assert condition, what
    checks += 1


ids = [model.id for model in client.models.list()]
check(ids == ["auto", LOCAL, CLOUD], ids)
check(client.models.retrieve(CLOUD).id == CLOUD, "the slash of an id may be escaped")

# Greedy and without the prompt cache, so that the same request gives the same text.
same = {"model": "auto", "messages": messages, "max_tokens": 16, "temperature": 0, "extra_body": {"cache_prompt": False}}
raw = client.chat.completions.with_raw_response.create(**same)
answer = raw.parse()
check(raw.headers["x-tidegate-target"] == LOCAL, raw.headers)
check(answer.choices[0].message.content and answer.usage.completion_tokens > 0, answer)

stream = client.chat.completions.create(**same, stream=True)
text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
check(text == answer.choices[0].message.content, (text, answer))

stream = client.chat.completions.create(
    model="auto", messages=messages, max_tokens=16, stream=True, stream_options={"include_usage": True}
)
check(list(stream)[-1].usage.completion_tokens > 0, "usage in the last chunk")

answer = client.chat.completions.create(
    model="auto", messages=messages, metadata={"tidegate_mode": "only_in_cloud", "team": "blue"}
)
check(answer.choices[0].message.content == "from the cloud", answer)

try:
    client.chat.completions.create(model="gpt-none", messages=messages)
except openai.NotFoundError as error:
    check(error.code == "model_not_found" and error.param == "model" and LOCAL in error.message, error)

try:
    client.chat.completions.create(
        model="auto",
        messages=messages,
        extra_headers={"x-tidegate-privacy": "restricted", "x-tidegate-mode": "only_in_cloud"},
    )
except openai.BadRequestError as error:
    check(error.code == "placement_contradiction", error)

try:
    client.chat.completions.create(model="auto", messages=[])
except openai.BadRequestError as error:
    check(error.param == "messages" and error.type == "invalid_request_error", error)

print(f"{checks} checks passed")
