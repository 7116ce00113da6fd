import { fal } from "@fal-ai/client";

const base = process.argv[2];
fal.config({
  requestMiddleware: async (request) => ({
    ...request,
    url: request.url.replace("https://queue.fal.run", base),
  }),
});
const result = await fal.subscribe("fal-ai/kling-video/v1/standard/image-to-video", {
  input: { prompt: "Snow falls.", image_url: "https://images.example.com/a.png", duration: "5" },
  logs: true,
});
console.log(result.data.video.url);
