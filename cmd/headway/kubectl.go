package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/kubectl/pkg/cmd"
)

// kubectlCommand is the real kubectl, pointed at the same cluster as the other
// verbs.
func kubectlCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "kubectl",
		Short:              "kubectl for this cluster",
		DisableFlagParsing: true,
		// kubectl reads its own flags and environment.
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil },
		RunE: func(c *cobra.Command, args []string) error {
			if os.Getenv(clientcmd.RecommendedConfigPathEnvVar) == "" && !namesKubeconfig(args) {
				path, err := kubeconfigPath(c)
				if err != nil {
					return err
				}
				if err := os.Setenv(clientcmd.RecommendedConfigPathEnvVar, path); err != nil {
					return err
				}
			}
			kubectl := cmd.NewDefaultKubectlCommandWithArgs(cmd.KubectlOptions{
				PluginHandler: cmd.NewDefaultPluginHandler(nil),
				Arguments:     append([]string{"kubectl"}, args...),
				IOStreams:     genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr},
			})
			kubectl.SetArgs(args)
			return kubectl.ExecuteContext(c.Context())
		},
	}
}

// namesKubeconfig tells whether kubectl's own arguments say where the cluster
// is.
func namesKubeconfig(args []string) bool {
	for _, arg := range args {
		switch {
		case arg == "--":
			return false
		case arg == "--kubeconfig", strings.HasPrefix(arg, "--kubeconfig="), arg == "--server", strings.HasPrefix(arg, "--server="), arg == "-s":
			return true
		}
	}
	return false
}
