import * as aiflow from "@eachlabs/aiflow";

const Client = aiflow.default?.default ?? aiflow.default ?? aiflow.Eachlabs;
const client = new Client({ auth: process.env.EACH_API_KEY, apiBaseUrl: process.argv[2] });
const created = await client.prediction.create({
  model: "kling-v1-standard-image-to-video",
  version: "0.0.1",
  input: { prompt: "Snow falls.", image_url: "https://images.example.com/a.png" },
});
for (;;) {
  const prediction = await client.prediction.get(created.predictionID);
  if (prediction.status === "success") {
    console.log(prediction.output);
    break;
  }
  await new Promise((resolve) => setTimeout(resolve, 200));
}
