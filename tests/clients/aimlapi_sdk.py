import sys

from aimlapi import AIMLAPI

client = AIMLAPI(base_url=sys.argv[1])
result = client.videos.generate_with_polling(
    model="kling-video/v1/standard/image-to-video",
    prompt="Snow falls.",
    extra_body={"image_url": "https://images.example.com/a.png", "duration": 5},
)
print(result["video"]["url"])
