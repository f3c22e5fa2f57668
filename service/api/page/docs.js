// Draws the OpenAPI document with Swagger UI; without it the page's own words stay.
if (window.SwaggerUIBundle) {
  window.SwaggerUIBundle({
    url: new URL("openapi.json", document.baseURI).href,
    dom_id: "#document",
    layout: "BaseLayout",
    deepLinking: true,
    validatorUrl: null,
    presets: [window.SwaggerUIBundle.presets.apis],
  });
}
