import fal_client

result = fal_client.subscribe(
    "fal-ai/kling-video/v1/standard/image-to-video",
    arguments={
        "prompt": "Snow falls.",
        "image_url": "https://images.example.com/a.png",
        "duration": "5",
    },
    with_logs=True,
)
print(result["video"]["url"])
