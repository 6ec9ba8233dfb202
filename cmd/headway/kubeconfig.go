package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/spf13/cobra"

	"github.com/headway-sh/headway/internal/pki"
)

const (
	// defaultDataDir is where `headway up` keeps everything.
	defaultDataDir = "/var/lib/headway"
	adminConfig    = "admin.kubeconfig"
	// serverName is the one name by which an API server is believed.
	serverName = "kubernetes.default.svc"
)

// kubeconfig makes the file by which a user reaches the cluster.
func kubeconfig(cluster, user, server string, caPEM, certPEM, keyPEM []byte) ([]byte, error) {
	config := clientcmdapi.NewConfig()
	config.Clusters[cluster] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: caPEM, TLSServerName: serverName}
	config.AuthInfos[user] = &clientcmdapi.AuthInfo{ClientCertificateData: certPEM, ClientKeyData: keyPEM}
	config.Contexts[cluster] = &clientcmdapi.Context{Cluster: cluster, AuthInfo: user}
	config.CurrentContext = cluster
	return clientcmd.Write(*config)
}

func writeKubeconfig(path, cluster, user, server string, caPEM, certPEM, keyPEM []byte) error {
	text, err := kubeconfig(cluster, user, server, caPEM, certPEM, keyPEM)
	if err != nil {
		return err
	}
	if err := pki.WriteFile(path, text, 0o600); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	return nil
}

// serverURL is how clients on this machine, or others for a real address,
// reach the server.
func serverURL(advertise netip.Addr, port uint16) string {
	return "https://" + net.JoinHostPort(advertise.String(), strconv.Itoa(int(port)))
}

// clientConfig finds the cluster that a user verb is about: --kubeconfig,
// $KUBECONFIG, the local cluster, ~/.kube/config, in this order.
func clientConfig(cmd *cobra.Command) (*rest.Config, error) {
	path, err := kubeconfigPath(cmd)
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", path, err)
	}
	config.UserAgent = "headway"
	config.QPS = -1 // the server has its own fairness
	return config, nil
}

func kubeconfigPath(cmd *cobra.Command) (string, error) {
	path, err := cmd.Flags().GetString("kubeconfig")
	if err != nil {
		return "", err
	}
	local := filepath.Join(defaultDataDir, adminConfig)
	for _, candidate := range []string{path, os.Getenv(clientcmd.RecommendedConfigPathEnvVar)} {
		if candidate != "" {
			return candidate, nil
		}
	}
	if _, err := os.Stat(local); err == nil {
		return local, nil
	}
	if _, err := os.Stat(clientcmd.RecommendedHomeFile); err == nil {
		return clientcmd.RecommendedHomeFile, nil
	}
	return "", fmt.Errorf("no cluster found: there is neither %s nor %s; start one with \"headway up\" or name another with --kubeconfig", local, clientcmd.RecommendedHomeFile)
}
