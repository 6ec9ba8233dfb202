package serve

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"github.com/headway-sh/headway/nodeagent/runtime"
)

// Pods finds the node's pods. Safe for concurrent use.
type Pods interface {
	// Find gives a pod; uid may be empty.
	Find(namespace, name string, uid types.UID) (Pod, bool)
	// All gives every pod of the node with its present status. Nobody changes
	// what it returns.
	All() []corev1.Pod
}

// Pod is what is served of a pod.
type Pod struct {
	UID types.UID
	// NetNS is the path of its network namespace; empty with host network.
	NetNS      string
	Containers map[string]Container
}

// Container is what is served of a container.
type Container struct {
	// ID is the runtime's; empty while there is none.
	ID string
	// LogPath is the newest attempt's, PreviousLogPath that of the one before.
	LogPath, PreviousLogPath string
	// Ended is closed when the newest attempt has ended; nil if it does not run.
	Ended <-chan struct{}
	// Draining is closed when the log of one that has just ended is complete;
	// nil if it is, or if the newest attempt has not ended.
	Draining <-chan struct{}
	TTY      bool
}

// Authorizer decides who may do what with the node. verb is a Kubernetes verb
// (get, create), subresource one of "log", "metrics", "proxy", "stats", "images".
type Authorizer interface {
	Authorize(ctx context.Context, user string, groups []string, verb, subresource string) error
}

// Runtime is what exec, attach and usage need.
type Runtime interface {
	Exec(ctx context.Context, id string, config runtime.ExecConfig) (exitCode int, err error)
	Attach(ctx context.Context, id string, streams runtime.Streams) error
	Stats(ctx context.Context, id string) (runtime.Stats, error)
	DiskUsage(ctx context.Context, id string) (runtime.DiskUsage, error)
}

// Dial connects to a port on a pod's loopback.
type Dial func(ctx context.Context, netns string, port int) (net.Conn, error)

// Config is what a server is made of.
type Config struct {
	// Listener is where to serve; TLS must ask for client certificates.
	Listener   net.Listener
	TLS        *tls.Config
	NodeName   string
	Pods       Pods
	Runtime    Runtime
	Groups     Groups
	Dial       Dial
	Authorizer Authorizer
	// Images serves the node's images below /v2/ to whom the Authorizer lets get
	// the subresource "images"; nil: it does not.
	Images http.Handler
	Clock  clock.PassiveClock // default: the machine's
	Logger *slog.Logger
	// IdleTimeout ends streams that carry nothing. Default: 4 h.
	IdleTimeout time.Duration
}

const (
	defaultIdle    = 4 * time.Hour
	creation       = 30 * time.Second // for a client to open its streams
	headerTimeout  = 10 * time.Second
	shutdownPeriod = 2 * time.Second
)

// Server serves the node's API.
type Server struct {
	Config
	started time.Time
	rates   rates
}

// New makes a server; Run runs it.
func New(config Config) (*Server, error) {
	switch {
	case config.Listener == nil, config.TLS == nil:
		return nil, errors.New("serve: listener and TLS are needed")
	case config.Pods == nil, config.Runtime == nil, config.Groups == nil, config.Dial == nil, config.Authorizer == nil:
		return nil, errors.New("serve: pods, runtime, groups, dial and authorizer are needed")
	}
	if config.IdleTimeout == 0 {
		config.IdleTimeout = defaultIdle
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Clock == nil {
		config.Clock = clock.RealClock{}
	}
	return &Server{Config: config, started: config.Clock.Now()}, nil
}

// Run serves until ctx ends; streams that are open then are cut.
func (s *Server) Run(ctx context.Context) error {
	server := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: headerTimeout,
		ErrorLog:    slog.NewLogLogger(s.Logger.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return ctx },
		// SPDY takes a connection over, which HTTP/2 does not let it.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(tls.NewListener(s.Listener, s.TLS)) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve node: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownPeriod)
	defer cancel()
	if err := server.Shutdown(stop); err != nil {
		_ = server.Close() // it is to end: that some requests were cut is meant
	}
	<-done
	return nil
}

// Handler is the server's routes behind authentication and authorization.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) })
	mux.Handle("GET /containerLogs/{namespace}/{pod}/{container}", s.allow("get", "log", s.logs))
	mux.Handle("GET /pods", s.allow("get", "proxy", s.list))
	mux.Handle("GET /metrics", s.allow("get", "metrics", s.metrics()))
	mux.Handle("GET /metrics/resource", s.allow("get", "metrics", s.resource))
	mux.Handle("GET /stats/summary", s.allow("get", "stats", s.summary))
	if s.Images != nil {
		mux.Handle("/v2/", s.allow("get", "images", s.Images.ServeHTTP))
	}
	for _, method := range []string{"GET ", "POST "} {
		for _, uid := range []string{"", "/{uid}"} {
			mux.Handle(method+"/exec/{namespace}/{pod}"+uid+"/{container}", s.allow("create", "proxy", s.exec))
			mux.Handle(method+"/attach/{namespace}/{pod}"+uid+"/{container}", s.allow("create", "proxy", s.attach))
			mux.Handle(method+"/portForward/{namespace}/{pod}"+uid, s.allow("create", "proxy", s.portForward))
		}
	}
	return mux
}

// allow lets verified clients through that the authorizer knows.
func (s *Server) allow(verb, subresource string, next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		subject := r.TLS.PeerCertificates[0].Subject
		if err := s.Authorizer.Authorize(r.Context(), subject.CommonName, subject.Organization, verb, subresource); err != nil {
			http.Error(w, fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource=%s): %v", subject.CommonName, verb, subresource, err), http.StatusForbidden)
			return
		}
		next(w, r)
	})
}

// list answers with the node's pods.
func (s *Server) list(w http.ResponseWriter, _ *http.Request) {
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: s.Pods.All()}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(&list); err != nil {
		s.Logger.Debug("pods not served", "err", err) // the client is gone
	}
}

// find looks up what the path names, or answers that it is not there.
func (s *Server) find(w http.ResponseWriter, r *http.Request) (Pod, bool) {
	pod, ok := s.Pods.Find(r.PathValue("namespace"), r.PathValue("pod"), types.UID(r.PathValue("uid")))
	if !ok {
		http.Error(w, fmt.Sprintf("pod %q is not on this node", r.PathValue("namespace")+"/"+r.PathValue("pod")), http.StatusNotFound)
	}
	return pod, ok
}

func (s *Server) container(w http.ResponseWriter, r *http.Request) (Container, bool) {
	pod, ok := s.find(w, r)
	if !ok {
		return Container{}, false
	}
	c, ok := pod.Containers[r.PathValue("container")]
	if !ok {
		http.Error(w, fmt.Sprintf("container %q not found in pod %q", r.PathValue("container"), r.PathValue("pod")), http.StatusNotFound)
	}
	return c, ok
}
