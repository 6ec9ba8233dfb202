package kinds

import (
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (c *checker) probes(p *path, o *corev1.Container, grace *int64) {
	if o.LivenessProbe != nil {
		c.probe(p.Child("livenessProbe"), o.LivenessProbe, true, grace)
	}
	if o.StartupProbe != nil {
		c.probe(p.Child("startupProbe"), o.StartupProbe, true, grace)
	}
	if o.ReadinessProbe != nil {
		at := p.Child("readinessProbe")
		c.probe(at, o.ReadinessProbe, false, grace)
		if s := o.ReadinessProbe.TerminationGracePeriodSeconds; s != nil {
			c.invalid(at.Child("terminationGracePeriodSeconds"), *s, "must not be set for readinessProbes")
		}
	}
}

// probe checks one probe; one success is all that liveness and startup take.
func (c *checker) probe(p *path, o *corev1.Probe, once bool, grace *int64) {
	c.handler(p, probeHandler(o), grace)
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

func (c *checker) lifecycle(p *path, l *corev1.Lifecycle, s *corev1.PodSpec) {
	if l == nil {
		return
	}
	p = p.Child("lifecycle")
	if l.PostStart != nil {
		c.handler(p.Child("postStart"), hookHandler(l.PostStart), s.TerminationGracePeriodSeconds)
	}
	if l.PreStop != nil {
		c.handler(p.Child("preStop"), hookHandler(l.PreStop), s.TerminationGracePeriodSeconds)
	}
	if l.StopSignal != nil {
		c.stopSignal(p.Child("stopSignal"), *l.StopSignal, s.OS)
	}
}

// stopSignal checks the signal against those of the pod's operating system,
// which must be known.
func (c *checker) stopSignal(p *path, signal corev1.Signal, system *corev1.PodOS) {
	if system == nil {
		c.forbidden(p, "may not be set for containers with empty `spec.os.name`")
		return
	}
	supported := linuxSignals()
	if system.Name == corev1.Windows {
		supported = []corev1.Signal{corev1.SIGKILL, corev1.SIGTERM}
	}
	if !slices.Contains(supported, signal) {
		c.add(field.NotSupported(p, signal, supported))
	}
}

// linuxSignals are those with names, and the real-time ones by their distance
// from the first or the last.
func linuxSignals() []corev1.Signal {
	all := []corev1.Signal{
		corev1.SIGABRT, corev1.SIGALRM, corev1.SIGBUS, corev1.SIGCHLD, corev1.SIGCLD, corev1.SIGCONT, corev1.SIGFPE, corev1.SIGHUP,
		corev1.SIGILL, corev1.SIGINT, corev1.SIGIO, corev1.SIGIOT, corev1.SIGKILL, corev1.SIGPIPE, corev1.SIGPOLL, corev1.SIGPROF,
		corev1.SIGPWR, corev1.SIGQUIT, corev1.SIGSEGV, corev1.SIGSTKFLT, corev1.SIGSTOP, corev1.SIGSYS, corev1.SIGTERM, corev1.SIGTRAP,
		corev1.SIGTSTP, corev1.SIGTTIN, corev1.SIGTTOU, corev1.SIGURG, corev1.SIGUSR1, corev1.SIGUSR2, corev1.SIGVTALRM, corev1.SIGWINCH,
		corev1.SIGXCPU, corev1.SIGXFSZ, corev1.SIGRTMIN, corev1.SIGRTMAX,
	}
	for i := 1; i <= 15; i++ {
		all = append(all, corev1.Signal("SIGRTMIN+"+strconv.Itoa(i)))
		if i < 15 {
			all = append(all, corev1.Signal("SIGRTMAX-"+strconv.Itoa(i)))
		}
	}
	slices.Sort(all)
	return all
}

func (c *checker) handler(p *path, h handler, grace *int64) {
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
	if h.sleep != nil && only("sleep") && grace != nil && (h.sleep.Seconds < 0 || h.sleep.Seconds > *grace) {
		c.invalid(p.Child("sleep"), h.sleep.Seconds, fmt.Sprintf("must be non-negative and less than terminationGracePeriodSeconds (%d)", *grace))
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
			c.invalid(p.Child("httpHeaders"), h.HTTPHeaders[i].Name, m)
		}
	}
}
