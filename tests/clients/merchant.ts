// A merchant's and a shopper's steps, with the client that openapi-fetch makes of the generated types.
// Prints one JSON object: what each step was answered.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

declare const process: { env: Record<string, string>; exit(status: number): never };

const options = { baseUrl: process.env["URL"]!, headers: { Authorization: `Bearer ${process.env["ADMIN_TOKEN"]}` } };
const client = createClient<paths>(options);
const path = { product_id: "vase-ts" };

function needed<T>(answer: { data?: T; error?: unknown; response: Response }): T {
  if (answer.data === undefined) throw new Error(`${answer.response.status}: ${JSON.stringify(answer.error)}`);
  return answer.data;
}

const put = await client.PUT("/inventory/{product_id}", {
  params: { path },
  body: { name: "Vase", price: 1500, currency: "EUR", total_stock: 9, per_user_limit: 4 },
});
const renamed = await client.PATCH("/inventory/{product_id}", { params: { path }, body: { name: "Tall vase" } });
const limited = await client.PATCH("/inventory/{product_id}", { params: { path }, body: { per_user_limit: 3 } });
// @ts-expect-error what no field is called does not compile
const unknown: components["schemas"]["ProductPatch"] = { nmae: "Vase" };

const order = { product_id: "vase-ts", user_id: "ada", quantity: 2, reference: "basket-1" };
const header = { "Idempotency-Key": "ts-1" };
const placed = await client.POST("/orders", { params: { header }, body: order });
const again = await client.POST("/orders", { params: { header }, body: order });
const order_id = needed(placed).order_id;

async function settled(): Promise<components["schemas"]["OrderNow"]> {
  for (;;) {
    const now = needed(await client.GET("/orders/{order_id}", { params: { path: { order_id } } }));
    if (now.status !== "pending" && now.status !== "processing") return now;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const now = await settled();
const refunded = await client.POST("/orders/{order_id}/refund", {
  params: { path: { order_id } },
  body: { quantity: 1, return_to_stock: true, reason: "" },
});
const listed = await client.GET("/orders", { params: { query: { product_id: "vase-ts", status: ["confirmed"] } } });
const events = await client.GET("/events", { params: { query: { limit: 1000 } } });
const page = needed(events);
if (typeof page === "string") throw new Error("a stream, which was not asked for");
const exported = await client.GET("/orders/export", { headers: { Accept: "text/csv" }, parseAs: "text" });
const refused = await client.POST("/orders", { body: { ...order, product_id: "nothing" } });

console.log(
  JSON.stringify({
    put: needed(put),
    renamed: needed(renamed),
    limited: needed(limited),
    replayed: [again.response.status, again.response.headers.get("Idempotency-Replayed"), needed(again).order_id === order_id],
    settled: now,
    refunded: needed(refunded),
    listed: needed(listed).orders.map((one) => one.order_id),
    events: page.events.filter((event) => event.subject === order_id).map((event) => event.type),
    exported: needed(exported).includes(order_id),
    refused: refused.error?.code,
    unknown,
  }),
);
