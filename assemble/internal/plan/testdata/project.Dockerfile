# What decant build does, as a Dockerfile.

# node 22 from .nvmrc
FROM --platform=$BUILDPLATFORM node:22-slim AS build
WORKDIR /app
ENV CI=true
COPY . ./
# package-lock.json
RUN --mount=type=cache,id=npm,target=/root/.npm --mount=type=secret,id=npmrc,target=/root/.npmrc npm ci --include=dev
RUN --network=none npm run build && echo "done: $PWD"

FROM nginx
COPY --from=build --chown=0:0 --chmod=0755 /app/dist/ /usr/share/nginx/html/
