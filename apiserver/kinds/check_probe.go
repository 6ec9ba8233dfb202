package kinds

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (c *checker) probes(p *path, o *corev1.Container) {
	if o.LivenessProbe != nil {
		c.probe(p.Child("livenessProbe"), o.LivenessProbe, true)
	}
	if o.StartupProbe != nil {
		c.probe(p.Child("startupProbe"), o.StartupProbe, true)
	}
	if o.ReadinessProbe != nil {
		at := p.Child("readinessProbe")
		c.probe(at, o.ReadinessProbe, false)
		if s := o.ReadinessProbe.TerminationGracePeriodSeconds; s != nil {
			c.invalid(at.Child("terminationGracePeriodSeconds"), *s, "must not be set for readinessProbes")
		}
	}
}

// probe checks one probe; one success is all that liveness and startup take.
func (c *checker) probe(p *path, o *corev1.Probe, once bool) {
	c.handler(p, probeHandler(o))
	c.nonNegative(p, "initialDelaySeconds", int64(o.InitialDelaySeconds))
	c.nonNegative(p, "timeoutSeconds", int64(o.TimeoutSeconds))
	c.nonNegative(p, "periodSeconds", int64(o.PeriodSeconds))
	c.nonNegative(p, "successThreshold", int64(o.SuccessThreshold))
	c.nonNegative(p, "failureThreshold", int64(o.FailureThreshold))
	if once && o.SuccessThreshold != 1 {
		c.invalid(p.Child("successThreshold"), o.SuccessThreshold, "must be 1")
	}
	if s := o.TerminationGracePeriodSeconds; s != nil && *s <= 0 {
		c.invalid(p.Child("terminationGracePeriodSeconds"), *s, "must be greater than 0")
	}
}

// handler is what probes and lifecycle hooks can do.
type handler struct {
	exec  *corev1.ExecAction
	http  *corev1.HTTPGetAction
	tcp   *corev1.TCPSocketAction
	grpc  *corev1.GRPCAction
	sleep *corev1.SleepAction
}

func probeHandler(o *corev1.Probe) handler {
	return handler{exec: o.Exec, http: o.HTTPGet, tcp: o.TCPSocket, grpc: o.GRPC}
}

func hookHandler(o *corev1.LifecycleHandler) handler {
	return handler{exec: o.Exec, http: o.HTTPGet, tcp: o.TCPSocket, sleep: o.Sleep}
}

func (c *checker) lifecycle(p *path, l *corev1.Lifecycle) {
	if l == nil {
		return
	}
	p = p.Child("lifecycle")
	if l.PostStart != nil {
		c.handler(p.Child("postStart"), hookHandler(l.PostStart))
	}
	if l.PreStop != nil {
		c.handler(p.Child("preStop"), hookHandler(l.PreStop))
	}
}

func (c *checker) handler(p *path, h handler) {
	n := 0
	only := func(name string) bool {
		if n++; n > 1 {
			c.forbidden(p.Child(name), "may not specify more than 1 handler type")
		}
		return n == 1
	}
	if h.exec != nil && only("exec") && len(h.exec.Command) == 0 {
		c.required(p.Child("exec", "command"), "")
	}
	if h.http != nil && only("httpGet") {
		c.httpGet(p.Child("httpGet"), h.http)
	}
	if h.tcp != nil && only("tcpSocket") {
		c.portNameOrNumber(p.Child("tcpSocket"), "port", h.tcp.Port)
	}
	if h.grpc != nil && only("grpc") {
		c.port(p.Child("grpc"), "port", h.grpc.Port)
	}
	if h.sleep != nil && only("sleep") && h.sleep.Seconds < 0 {
		c.invalid(p.Child("sleep"), h.sleep.Seconds, "must be non-negative and less than terminationGracePeriodSeconds")
	}
	if n == 0 {
		c.required(p, "must specify a handler type")
	}
}

func (c *checker) httpGet(p *path, h *corev1.HTTPGetAction) {
	if h.Path == "" {
		c.required(p.Child("path"), "")
	}
	c.portNameOrNumber(p, "port", h.Port)
	if h.Scheme != corev1.URISchemeHTTP && h.Scheme != corev1.URISchemeHTTPS {
		c.add(field.NotSupported(p.Child("scheme"), h.Scheme, []corev1.URIScheme{corev1.URISchemeHTTP, corev1.URISchemeHTTPS}))
	}
	for i := range h.HTTPHeaders {
		for _, m := range validation.IsHTTPHeaderName(h.HTTPHeaders[i].Name) {
			c.invalid(p.Child("httpHeaders").Index(i).Child("name"), h.HTTPHeaders[i].Name, m)
		}
	}
}
