// Draws the OpenAPI document with Redoc, to be read; to try a route, there is docs.html.
if (window.Redoc) {
  const options = { disableSearch: false, hideDownloadButton: false, nativeScrollbars: true };
  window.Redoc.init(new URL("openapi.json", document.baseURI).href, options, document.getElementById("document"));
}
