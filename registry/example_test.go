package registry_test

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/v1/empty"

	"github.com/decant-build/decant/registry"
	"github.com/decant-build/decant/registry/registrytest"
)

// An image is pushed under two names, and pulled back.
func Example() {
	server := registrytest.Start(registrytest.Options{})
	defer server.Close()
	ctx := context.Background()

	client, err := registry.New(registry.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	target, err := client.Target(server.Host+"/shop/web:1.4", server.Host+"/shop/web:latest")
	if err != nil {
		fmt.Println(err)
		return
	}
	pushed, err := target.Push(ctx, empty.Image)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, p := range pushed {
		fmt.Println(p.Tag, p.Existing)
	}

	pulled, err := client.Pull(ctx, server.Host+"/shop/web:latest")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(pulled.MediaType, pulled.Digest.String() == pushed[0].Ref.DigestStr())
	// Output:
	// 1.4 false
	// latest false
	// application/vnd.docker.distribution.manifest.v2+json true
}
