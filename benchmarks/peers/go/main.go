// The Go peer: the sale of baseline.py as a competent engineer writes it in an afternoon, on net/http and go-redis.
//
// The same script, the same checks, the same answers. With PEER_TELEMETRY=otel it has what OpenTelemetry's standard
// instrumentation gives a Go service: otelhttp around the handler, redisotel around the client, metrics at /metrics for
// Prometheus, spans by OTLP; the sampler is that of OTEL_TRACES_SAMPLER.
package main

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/extra/redisotel/v9"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"
)

const maxQuantity = 1000

//go:embed baseline.lua
var script string

var (
	productPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$`)
	userPattern    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:@|+=-]{0,127}$`)
)

type orderRequest struct {
	ProductID string `json:"product_id"`
	UserID    string `json:"user_id"`
	Quantity  int    `json:"quantity"`
}

type orderAccepted struct {
	OrderID    string      `json:"order_id"`
	Status     string      `json:"status"`
	ProductID  string      `json:"product_id"`
	UserID     string      `json:"user_id"`
	Quantity   int         `json:"quantity"`
	UnitPrice  json.Number `json:"unit_price"`
	Currency   string      `json:"currency"`
	AcceptedAt time.Time   `json:"accepted_at"`
}

type shop struct {
	store *redis.Client
	place *redis.Script
}

func (s shop) placeOrder(w http.ResponseWriter, r *http.Request) {
	var order orderRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&order); err != nil || !valid(order) {
		http.Error(w, `{"detail":"invalid"}`, http.StatusUnprocessableEntity)
		return
	}
	raw := make([]byte, 16)
	if _, err := rand.Read(raw); err != nil {
		http.Error(w, `{"detail":"no randomness"}`, http.StatusInternalServerError)
		return
	}
	id, now := hex.EncodeToString(raw), time.Now().UTC()
	keys := []string{"product:" + order.ProductID, "order:" + id, "queue"}
	reply, err := s.place.Run(r.Context(), s.store, keys, id, order.ProductID, order.UserID, order.Quantity,
		now.Format(time.RFC3339Nano)).Slice()
	if err != nil {
		log.Print(err)
		http.Error(w, `{"detail":"store"}`, http.StatusServiceUnavailable)
		return
	}
	if reply[0] != int64(1) {
		status := http.StatusConflict
		if reply[1] == "unknown_product" {
			status = http.StatusNotFound
		}
		http.Error(w, `{"detail":"refused"}`, status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Location", "/orders/"+id)
	w.WriteHeader(http.StatusAccepted)
	price, currency := reply[1].(string), reply[2].(string)
	_ = json.NewEncoder(w).Encode(orderAccepted{id, "pending", order.ProductID, order.UserID, order.Quantity,
		json.Number(price), currency, now})
}

func valid(order orderRequest) bool {
	return productPattern.MatchString(order.ProductID) && userPattern.MatchString(order.UserID) &&
		order.Quantity >= 1 && order.Quantity <= maxQuantity
}

// instrument adds OpenTelemetry's standard instrumentation, and returns the handler and what ends it.
func instrument(ctx context.Context, store *redis.Client, mux *http.ServeMux) (http.Handler, func(context.Context) error, error) {
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, nil, err
	}
	tracers := trace.NewTracerProvider(trace.WithBatcher(exporter))
	reader, err := prometheus.New()
	if err != nil {
		return nil, nil, err
	}
	otel.SetTracerProvider(tracers)
	otel.SetMeterProvider(metric.NewMeterProvider(metric.WithReader(reader)))
	otel.SetTextMapPropagator(propagation.TraceContext{})
	err = errors.Join(redisotel.InstrumentTracing(store), redisotel.InstrumentMetrics(store))
	mux.Handle("GET /metrics", promhttp.Handler())
	return otelhttp.NewHandler(mux, "orders"), tracers.Shutdown, err
}

func run(ctx context.Context) error {
	options, err := redis.ParseURL(os.Getenv("REDIS_URL"))
	if err != nil {
		return err
	}
	store := redis.NewClient(options)
	defer store.Close()
	s := shop{store, redis.NewScript(script)}
	if err := s.place.Load(ctx, store).Err(); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /orders", s.placeOrder)
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	var handler http.Handler = mux
	if os.Getenv("PEER_TELEMETRY") == "otel" {
		instrumented, end, err := instrument(ctx, store, mux)
		if err != nil {
			return err
		}
		defer func() { _ = end(context.Background()) }()
		handler = instrumented
	}
	server := &http.Server{Addr: "127.0.0.1:" + os.Getenv("PORT"), Handler: handler}
	go func() {
		<-ctx.Done()
		_ = server.Shutdown(context.Background())
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}
