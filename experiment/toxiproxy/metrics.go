package toxiproxy

import (
	"net/http"

	"github.com/faultctl/faultctl/experiment/toxiproxy/forwarder"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// MetricsHandler answers scrapes with what proxies forwarded, and with figures about
// this process. It is nil if neither is asked for.
func (s *Server) MetricsHandler(proxies, process bool) http.Handler {
	reg := prometheus.NewRegistry()
	if proxies {
		reg.MustRegister(proxyBytes{s})
	}
	if process {
		reg.MustRegister(collectors.NewGoCollector(), collectors.NewBuildInfoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	}
	if !proxies && !process {
		return nil
	}
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{Registry: reg})
}

// proxyBytes are the counters of proxies, as connections go on.
type proxyBytes struct{ s *Server }

var (
	labels   = []string{"direction", "proxy", "listener", "upstream"}
	received = prometheus.NewDesc("toxiproxy_proxy_received_bytes_total", "", labels, nil)
	sent     = prometheus.NewDesc("toxiproxy_proxy_sent_bytes_total", "", labels, nil)
)

// Describe implements prometheus.Collector.
func (proxyBytes) Describe(to chan<- *prometheus.Desc) { to <- received; to <- sent }

// Collect implements prometheus.Collector.
func (b proxyBytes) Collect(to chan<- prometheus.Metric) {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	for _, p := range b.s.proxies {
		for stream := range p.received {
			name := forwarder.Stream(stream).String()
			to <- prometheus.MustNewConstMetric(received, prometheus.CounterValue, float64(p.received[stream].Load()), name, p.Name, p.Listen, p.Upstream)
			to <- prometheus.MustNewConstMetric(sent, prometheus.CounterValue, float64(p.sent[stream].Load()), name, p.Name, p.Listen, p.Upstream)
		}
	}
}
